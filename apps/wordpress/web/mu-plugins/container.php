<?php
/**
 * Plugin Name: In a container
 * Description: Scheduled work reaches the server inside its container; rewrite rules are Apache's.
 */

// The address in the browser need not lead anywhere from inside the container.
add_filter('cron_request', function (array $request): array {
    $parts = wp_parse_url($request['url']);
    $host = $parts['host'] . (isset($parts['port']) ? ':' . $parts['port'] : '');
    $request['args']['headers']['Host'] = $host;
    $request['url'] = 'http://127.0.0.1:8080/wp-cron.php?' . ($parts['query'] ?? '');
    return $request;
});

add_filter('flush_rewrite_rules_hard', '__return_false');
