<?php
// Answers with the key that a PHP application finds in the request, in the place
// that X-Source names.
$find = [
    'query' => fn() => $_GET['key'] ?? null,
    'header' => fn() => $_SERVER['HTTP_X_STORE'] ?? null,
    'form' => fn() => $_POST['key'] ?? null,
    'json' => function () {
        $body = json_decode(file_get_contents('php://input'), true);
        return is_array($body) ? $body['key'] ?? null : null;
    },
    'cookie' => fn() => $_COOKIE['key'] ?? null,
    'host_label' => fn() => explode('.', explode(':', $_SERVER['HTTP_HOST'])[0])[0],
    'path_segment' => function () {
        $path = explode('?', $_SERVER['REQUEST_URI'])[0];
        return isset(explode('/', $path)[2]) ? rawurldecode(explode('/', $path)[2]) : null;
    },
    'bearer' => fn() => preg_match('/Bearer\s+(\S+)/i', $_SERVER['HTTP_AUTHORIZATION'] ?? '', $m) ? $m[1] : null,
    'basic_user' => fn() => $_SERVER['PHP_AUTH_USER'] ?? null,
];
header('Content-Type: application/json');
echo json_encode(['key' => $find[$_SERVER['HTTP_X_SOURCE']]()], JSON_INVALID_UTF8_SUBSTITUTE);
