-- Payments in words, from their rows. state: signable, unknown, captured (by receipt), settled (the
-- rail showed it), charged (by voucher: its channel says what is claimed), void, expired, reversed.
SELECT seq,
       'pay_' || lower(hex(payment)) AS payment,
       (SELECT word FROM words WHERE no = r.agent) AS agent,
       (SELECT word FROM words WHERE no = r.role) AS role,
       (SELECT word FROM words WHERE no = r.group_name) AS group_name,
       (SELECT word FROM words WHERE no = r.session) AS session,
       'req_' || lower(hex(request)) AS request,
       attempt,
       (SELECT word FROM words WHERE no = r.provider) AS provider,
       (SELECT word FROM words WHERE no = r.capability) AS capability,
       (SELECT word FROM words WHERE no = r.model) AS model,
       (SELECT word FROM words WHERE no = r.capability)
           || ' with ' || (SELECT word FROM words WHERE no = r.model)
           || ' from ' || (SELECT word FROM words WHERE no = r.provider) AS description,
       state,
       (SELECT word FROM words WHERE no = r.scheme) AS scheme,
       (SELECT word FROM words WHERE no = r.network) AS network,
       '0x' || lower(hex(asset)) AS asset,
       '0x' || lower(hex(from_address)) AS from_address,
       '0x' || lower(hex(to_address)) AS to_address,
       amount_held, amount, held_nano, spent_nano,
       CASE WHEN transaction_hash IS NOT NULL THEN '0x' || lower(hex(transaction_hash)) END
           AS transaction_hash,
       '0x' || lower(hex(nonce)) AS nonce,
       policy_version,
       strftime('%Y-%m-%dT%H:%M:%S', held_ms / 1000, 'unixepoch')
           || printf('.%03dZ', held_ms % 1000) AS held_at,
       strftime('%Y-%m-%dT%H:%M:%S', ended_ms / 1000, 'unixepoch')
           || printf('.%03dZ', ended_ms % 1000) AS ended_at,
       strftime('%Y-%m-%dT%H:%M:%S', verified_ms / 1000, 'unixepoch')
           || printf('.%03dZ', verified_ms % 1000) AS verified_at,
       'wal_' || lower(hex(wallet_id)) AS wallet_id,
       strftime('%Y-%m-%dT%H:%M:%S', valid_before_ms / 1000, 'unixepoch')
           || printf('.%03dZ', valid_before_ms % 1000) AS valid_before,
       open_nano, seats
FROM payment_rows AS r
