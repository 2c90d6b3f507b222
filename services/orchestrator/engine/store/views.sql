-- What people ask of sagas. Nothing here takes a lock. `find` is narrowed by the conditions below it.

-- name: search_within
-- Ends whatever runs longer in the transaction at hand.
select set_config('statement_timeout', :limit_ms, true)

-- name: saga
-- Reads one saga, without its undos.
select *
from sagas
where id = :id

-- name: find
-- Reads which sagas are in a selection, newest first, and how large their payloads are; what the page shows of them is
-- then read by `sagas_of`.
select created_at, id, octet_length(input) + coalesce(octet_length(output), 0) as bytes
from sagas
where {conditions}
order by created_at desc, id desc
limit :limit

-- name: by_workflow
workflow = :workflow

-- name: by_ids
id = any(cast(:ids as uuid[]))

-- name: by_subject
subject = :subject

-- name: by_reason
-- Why it fails or has failed, or why it is stuck: that begins with the reason, and a row that is no JSON must not fail the search.
(error_code = :reason or starts_with(attention, '{"reason":' || cast(to_json(cast(:reason as text)) as text) || ','))

-- name: by_created_after
created_at > :created_after

-- name: by_before
-- Goes on behind the last row of the page before.
(created_at, id) < (cast(:before_at as timestamptz), cast(:before_id as uuid))

-- The status words; a test holds them against `status_word`. What is rare is spelled as the index sagas_rare has it.

-- name: is_queued
phase = 'forward' and run_state = 'ready' and epoch = 0

-- name: is_running
phase = 'forward' and (run_state = 'leased' or run_state = 'ready' and epoch > 0)

-- name: is_waiting
phase = 'forward' and run_state = 'waiting'

-- name: is_paused
run_state = 'paused'

-- name: is_stuck
run_state = 'stuck'

-- name: is_compensating
phase = 'compensating' and run_state in ('ready', 'leased', 'waiting') and outcome in ('failed', 'cancelled')

-- name: is_completed
outcome = 'completed'

-- name: is_failed
run_state = 'done' and outcome = 'failed'

-- name: is_cancelled
run_state = 'done' and outcome = 'cancelled'

-- name: count_live
-- Counts the sagas that have not ended by what their status words depend on; all in one pass over the live ones.
select workflow, phase, run_state, epoch > 0 as begun, count(*) as sagas
from sagas
where phase <> 'ended'
group by workflow, phase, run_state, epoch > 0
