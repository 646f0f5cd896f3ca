-- Each zone has the rows of all stores; the app asks the zone of the store.
CREATE TABLE stores (id text PRIMARY KEY, v text NOT NULL, cost double precision NOT NULL DEFAULT 0.005);
INSERT INTO stores (id, v)
SELECT 's0' || zone || '0' || n, 'value of s0' || zone || '0' || n
FROM generate_series(1, 3) AS zone, generate_series(1, 3) AS n;
