-- Searches meet apps in an order without reading their rows, and count them without reading what they are not
-- filtered by.

DROP INDEX apps_name;
DROP INDEX apps_announced;
DROP INDEX apps_points;
CREATE INDEX apps_name ON apps (name_key, id, facet);
CREATE INDEX apps_announced ON apps (announced_at, id, facet);
CREATE INDEX apps_points ON apps (micro_points, id, facet);
CREATE INDEX facets_counted ON facets (category, apps);

-- Every word of the texts, as it is indexed: what the beginning of a word may become. Holds nothing of its own.
CREATE VIRTUAL TABLE text_words USING fts5vocab (app_texts, instance);
