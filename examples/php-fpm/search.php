<?php
// A search API the way many shops run it: a static PHP-FPM pool and one
// PostgreSQL database per zone. Nothing in here knows firebreak.
//
// Environment:
//   STORES    CSV with the columns store,zone (default: stores.csv beside this file)
//   ZONES     CSV with the columns zone,dsn (default: zones.csv beside this file)
//   BUSY_DIR  optional: each worker keeps a file there, named by its pid, that
//             says what it works on ("z01 s0001", blank when idle)

declare(strict_types=1);

// FOR KEY SHARE waits for a row that somebody else holds FOR UPDATE: a locked
// row hangs the requests of its store and of no other.
const QUERY = 'SELECT v, pg_sleep(cost) FROM stores WHERE id = $1 FOR KEY SHARE';

/** The second column of the line of a table that starts with $key, or null. */
function lookup(string $table, string $key): ?string
{
    $file = getenv(strtoupper($table)) ?: __DIR__ . "/$table.csv";
    $line = '/^' . preg_quote($key, '/') . ',(.*?)\r?$/m';
    return preg_match($line, (string) file_get_contents($file), $found) ? $found[1] : null;
}

/** The worker's own word on whether it is occupied, and by what. */
function mark(string $what): void
{
    if ($dir = getenv('BUSY_DIR')) {
        $file = fopen($dir . '/' . getmypid(), 'c');
        fwrite($file, str_pad($what, 64));
        fclose($file);
    }
}

function requested_store(): string
{
    if ($_SERVER['REQUEST_METHOD'] === 'POST') {
        $body = json_decode((string) file_get_contents('php://input'), true);
        return is_array($body) ? (string) ($body['key'] ?? '') : '';
    }
    return (string) ($_GET['key'] ?? '');
}

/** Reads a store's row on a connection that outlives the request. */
function read_store(string $zone, string $store): array
{
    $link = @pg_pconnect((string) lookup('zones', $zone));
    $result = $link ? @pg_query_params($link, QUERY, [$store]) : false;
    $row = $result ? pg_fetch_row($result) : false;
    if (!$row) {
        return [500, ['store' => $store, 'error' => 'the database did not answer']];
    }
    return [200, ['store' => $store, 'zone' => $zone, 'result' => $row[0]]];
}

function search(): array
{
    $store = requested_store();
    $zone = $store === '' ? null : lookup('stores', $store);
    if ($zone === null) {
        return [404, ['error' => 'unknown key']];
    }
    mark("$zone $store");
    try {
        return read_store($zone, $store);
    } finally {
        mark('');
    }
}

[$status, $answer] = search();
http_response_code($status);
header('Content-Type: application/json');
header('X-Worker: ' . getmypid());
echo json_encode($answer);
