-- What always follows from another change is done by the engine in the same
-- statement: a statement is a transaction by itself, and each further one
-- costs two changes of threads.

-- An event is planned for delivery when it is written.
CREATE TRIGGER events_are_delivered AFTER INSERT ON events
BEGIN
    INSERT INTO deliveries (event_id, webhook_id, attempts, due_at)
    SELECT NEW.event_id, webhook_id, 0, NEW.happened_at FROM webhooks
    WHERE team_id = NEW.team_id AND enabled = 1 AND events LIKE '%,' || NEW.type || ',%';
END;

-- A sandbox starts with the event that tells of it; its template counts it.
CREATE TRIGGER sandboxes_start AFTER INSERT ON events WHEN NEW.type = 'sandbox.lifecycle.created'
BEGIN
    UPDATE sandboxes SET intent = 'running', started_at = NEW.happened_at
    WHERE sandbox_id = NEW.sandbox_id AND intent = 'starting';
    UPDATE templates SET spawn_count = spawn_count + 1, last_spawned_at = NEW.happened_at
    WHERE template_id = NEW.template_id;
END;

-- sandboxes_of_team_by_intent begins with the same columns.
DROP INDEX sandboxes_by_team;
