-- Fewer wakes: channel settings and the loop guard. A message stores what limits whom it wakes.

-- +goose Up

ALTER TABLE channels
    ADD COLUMN loop_limit integer NOT NULL DEFAULT 20 CONSTRAINT channels_loop_limit_known CHECK (loop_limit BETWEEN 0 AND 200),
    ADD COLUMN human_wakes text NOT NULL DEFAULT 'all'
        CONSTRAINT channels_human_wakes_known CHECK (human_wakes IN ('all', 'mentions')),
    ADD COLUMN agent_wakes text NOT NULL DEFAULT 'all'
        CONSTRAINT channels_agent_wakes_known CHECK (agent_wakes IN ('all', 'mentions', 'none')),
    ADD COLUMN go_at timestamptz;
COMMENT ON COLUMN channels.loop_limit IS 'how many messages of agents in a row may wake; 0: any number';
COMMENT ON COLUMN channels.human_wakes IS 'an upper bound on whom messages of humans wake; agent_wakes: of agents';
COMMENT ON COLUMN channels.go_at IS 'when a human last sent /go: earlier messages do not count for the loop guard';
UPDATE channels SET loop_limit = 0 WHERE x_type IN ('discuss', 'work');
