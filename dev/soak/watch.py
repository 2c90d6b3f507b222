"""What Postgres itself sees: which replica wrote which saga under which lease, written down by triggers.

Every replica signs in with a role of its own, so that the server can tell a write of whoever holds the lease from one
of whoever held it before.
"""

from dataclasses import dataclass

import asyncpg

SETUP = """
create schema soak;
create table soak.claims (
    saga uuid, epoch bigint, holder text, former text, was text, lease_ended timestamptz, at timestamptz,
    held_since timestamptz,
    primary key (saga, epoch)
);
create table soak.violations (at timestamptz, what text, saga uuid, detail text);

create function soak.watch() returns trigger language plpgsql security definer as $$
declare
    rightful text;
    since timestamptz;
begin
    if tg_op = 'INSERT' then
        if new.run_state = 'leased' then
            insert into soak.claims values (new.id, new.epoch, session_user, null, 'born', null, clock_timestamp(),
                clock_timestamp());
        end if;
        return null;
    end if;
    if old.phase = 'ended' then
        insert into soak.violations values (clock_timestamp(), 'an ended saga has changed', new.id, session_user);
    end if;
    if new.epoch < old.epoch or new.flush_no < old.flush_no then
        insert into soak.violations values (clock_timestamp(), 'a saga went back', new.id, session_user);
    end if;
    if new.epoch = old.epoch then
        if new.flush_no <> old.flush_no or new.outcome is distinct from old.outcome or old.run_state = 'leased' then
            select holder into rightful from soak.claims where saga = new.id and epoch = new.epoch;
            if rightful is distinct from session_user then
                insert into soak.violations values (clock_timestamp(), 'a stale holder has written', new.id,
                    session_user || ' wrote under the lease of ' || coalesce(rightful, 'nobody'));
            end if;
        end if;
    elsif new.run_state = 'leased' then
        select holder, at into rightful, since from soak.claims where saga = old.id and epoch = old.epoch;
        insert into soak.claims values (new.id, new.epoch, session_user, rightful, old.run_state, old.due_at,
            clock_timestamp(), since);
    end if;
    return null;
end $$;
create trigger soak_inserted after insert on sagas for each row execute function soak.watch();
create trigger soak_updated after update on sagas for each row
    when (old.epoch is distinct from new.epoch or old.flush_no is distinct from new.flush_no
          or old.outcome is distinct from new.outcome or old.phase = 'ended'
          or (old.run_state = 'leased' and (old.run_state, old.due_at) is distinct from (new.run_state, new.due_at)))
    execute function soak.watch();
"""
"""Within an epoch, only its holder may write a flush, extend the lease, give it back or end the saga."""

TAKEOVERS = """
select holder, former, extract(epoch from at)::float8 as at, extract(epoch from held_since)::float8 as held_since
from soak.claims where was = 'leased' order by at
"""


@dataclass(frozen=True, slots=True)
class Takeover:
    """A saga whose lease had run out and went on with `holder`; `former` had held it since `held_since`."""

    holder: str
    former: str
    at: float
    held_since: float


async def install(orchestrator: "asyncpg.Connection[asyncpg.Record]") -> None:
    await orchestrator.execute(SETUP)


async def violations(orchestrator: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    rows = await orchestrator.fetch("select * from soak.violations order by at")
    return [f"{row['what']}: saga {row['saga']}, {row['detail']} at {row['at']}" for row in rows]


async def takeovers(orchestrator: "asyncpg.Connection[asyncpg.Record]") -> list[Takeover]:
    rows = await orchestrator.fetch(TAKEOVERS)
    return [
        Takeover(_replica(row["holder"]), _replica(row["former"]), row["at"], row["held_since"])
        for row in rows
        if row["held_since"] is not None
    ]


async def claims(orchestrator: "asyncpg.Connection[asyncpg.Record]") -> int:
    return int(await orchestrator.fetchval("select count(*) from soak.claims"))


def _replica(role: str) -> str:
    return role.replace("_", "-")
