"""Our worker's process, which begins as our services begin."""

from services.chassis import garbage

garbage.put_off()

from bench.apps.ours import main  # noqa: E402 - nothing that is loaded from here on is garbage

if __name__ == "__main__":
    main()
