-- Publishers whose score may no longer be that of now, because something that it rests on changed. A row goes when
-- the publisher is about to be scored again, so that what comes meanwhile is noted anew. That a day passed is not
-- noted here: scores say of which day they are.
CREATE TABLE scores_due (
    publisher TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
CREATE INDEX scores_day ON scores (scored_at_day);

CREATE TRIGGER scores_due_evidence AFTER INSERT ON evidence
    BEGIN INSERT OR IGNORE INTO scores_due VALUES (NEW.publisher); END;
CREATE TRIGGER scores_due_first_seen AFTER INSERT ON first_seen
    BEGIN INSERT OR IGNORE INTO scores_due VALUES (NEW.publisher); END;
CREATE TRIGGER scores_due_key_states AFTER INSERT ON key_states
    BEGIN INSERT OR IGNORE INTO scores_due VALUES (NEW.publisher); END;
CREATE TRIGGER scores_due_equivocations AFTER INSERT ON equivocations
    BEGIN INSERT OR IGNORE INTO scores_due VALUES (NEW.publisher); END;
-- Only words that count: those of raters within reach.
CREATE TRIGGER scores_due_votes AFTER INSERT ON votes WHEN NEW.live = 1 AND NEW.reached = 1
    BEGIN INSERT OR IGNORE INTO scores_due VALUES (NEW.publisher); END;
-- A seed, or the list of somebody within reach, may change the weight of every word.
CREATE TRIGGER scores_due_network AFTER UPDATE OF stale ON network WHEN NEW.stale = 1 AND OLD.stale = 0
    BEGIN INSERT OR IGNORE INTO scores_due SELECT publisher FROM scores; END;

-- Scores from before were not noted beside the apps.
DELETE FROM scores;
INSERT INTO scores_due SELECT publisher FROM apps UNION SELECT publisher FROM evidence;
