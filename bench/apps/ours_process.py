"""Our worker's process, which begins as our services begin."""

from services.chassis import loading

loading.begin()

from bench.apps.ours import main  # noqa: E402 - loading has just begun

if __name__ == "__main__":
    main()
