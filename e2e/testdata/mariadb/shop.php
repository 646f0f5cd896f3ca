<?php
// A search API with one MariaDB, whose queries are tagged as docs/behind.md shows.

declare(strict_types=1);

function mark(string $what): void
{
    file_put_contents(getenv('BUSY_DIR') . '/' . getmypid(), str_pad($what, 64));
}

[$host, $port] = explode(':', getenv('MARIADB'));
$pdo = new PDO("mysql:host=$host;port=$port;dbname=shop", 'app', '', [
    PDO::ATTR_PERSISTENT => true,
    PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
]);
$store = $_GET['key'];
$sql = 'SELECT v FROM stores WHERE id = ? LOCK IN SHARE MODE';
mark("z04 $store");
$query = $pdo->prepare("/*store='" . rawurlencode($store) . "'*/ " . $sql);
$query->execute([$store]);
$row = $query->fetch();
mark('');
header('Content-Type: application/json');
echo json_encode(['result' => $row[0]]);
