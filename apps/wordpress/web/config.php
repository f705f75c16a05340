<?php
// Settings from the container's environment; read on each request, written nowhere.
define('DB_HOST', getenv('WORDPRESS_DB_HOST') ?: 'db');
define('DB_NAME', getenv('WORDPRESS_DB_NAME') ?: 'wordpress');
define('DB_USER', getenv('WORDPRESS_DB_USER') ?: 'wordpress');
define('DB_PASSWORD', getenv('WORDPRESS_DB_PASSWORD'));
define('DB_CHARSET', 'utf8mb4');

foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as $use) {
    define("{$use}_KEY", hash_hmac('sha256', "{$use}_KEY", getenv('WORDPRESS_SECRET')));
    define("{$use}_SALT", hash_hmac('sha256', "{$use}_SALT", getenv('WORDPRESS_SECRET')));
}

// A node is opened by several names and its port may change: links follow the address in the browser,
// unless WORDPRESS_URL fixes one.
$url = getenv('WORDPRESS_URL');
if (!$url && preg_match('/^[A-Za-z0-9.-]+(:[0-9]+)?$|^\[[0-9A-Fa-f:.]+\](:[0-9]+)?$/', $_SERVER['HTTP_HOST'] ?? '')) {
    $https = ($_SERVER['HTTP_X_FORWARDED_PROTO'] ?? '') === 'https';
    $url = ($https ? 'https://' : 'http://') . $_SERVER['HTTP_HOST'];
    if ($https) {
        $_SERVER['HTTPS'] = 'on';
    }
}
if ($url) {
    define('WP_HOME', $url);
    define('WP_SITEURL', $url);
}

define('WP_CONTENT_DIR', '/var/lib/wordpress/wp-content');
define('WPMU_PLUGIN_DIR', '/usr/local/share/wordpress/mu-plugins');
define('FS_METHOD', 'direct');
define('WP_ALLOW_MULTISITE', false);
