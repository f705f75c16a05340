import { fileURLToPath } from 'node:url'
import tailwindcss from '@tailwindcss/vite'
import vue from '@vitejs/plugin-vue'
import type { ProxyOptions } from 'vite'
import { defineConfig } from 'vitest/config'
import { mockNode } from './src/mocks/http.ts'

/** The policy that archyd sends (node/src/api/headers.rs); the preview sends it too, so that it is tested. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** Hands the node's own paths to it, as if the page had come from it. */
function toNode(node: string): Record<string, ProxyOptions> {
  const options: ProxyOptions = {
    target: node,
    changeOrigin: true,
    headers: { origin: new URL(node).origin },
  }
  // Vite's own modules lie below /src and /node_modules in development, never below /assets.
  return Object.fromEntries(['/rpc', '/session', '/events', '/assets'].map((path) => [path, options]))
}

export default defineConfig(({ mode }) => {
  const node = process.env.ARCHY_NODE_URL ?? 'http://127.0.0.1:8480'
  return {
    plugins: [vue(), tailwindcss(), mode === 'mock' && mockNode()],
    resolve: { alias: { '@': fileURLToPath(new URL('./src', import.meta.url)) } },
    define: {
      __VUE_OPTIONS_API__: false,
      __VUE_I18N_LEGACY_API__: false,
      __VUE_I18N_FULL_INSTALL__: false,
      __INTLIFY_PROD_DEVTOOLS__: false,
    },
    build: {
      target: ['chrome123', 'firefox121', 'safari17.5'],
      // /assets is where a node serves the icons and screenshots of apps.
      assetsDir: 'ui',
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
    },
    server: mode === 'node' ? { proxy: toNode(node) } : {},
    preview: { headers: { 'Content-Security-Policy': CONTENT_SECURITY_POLICY } },
    test: {
      environment: 'jsdom',
      environmentOptions: { jsdom: { url: 'http://node.test:8480/' } },
      setupFiles: ['src/test/setup.ts'],
      restoreMocks: true,
      // axe walks a whole page in jsdom; on a busy machine that takes a while.
      testTimeout: 60_000,
    },
  }
})
