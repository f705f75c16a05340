#!/usr/bin/env node
/**
 * Claims a store and reads one of its pages: fails unless the page comes to say a text.
 *
 *   node tests/browser/reads.mjs --url http://127.0.0.1:8480 --code CODE --path /apps --says 'replaced its keys' \
 *     --shot FILE.png
 */

import { parseArgs } from 'node:util'

import { chromium } from 'playwright-core'

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium'
/** How long the page may take to say it, in milliseconds. */
const PATIENCE_MS = 60_000
const PASSWORD = 'a lamp in the attic window'

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    code: { type: 'string' },
    path: { type: 'string' },
    says: { type: 'string' },
    shot: { type: 'string' },
  },
})
const { url, code, path, says, shot } = options
if (!url || !code || !path || !says || !shot) {
  console.error('--url, --code, --path, --says and --shot are needed')
  process.exit(2)
}

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
})
try {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, colorScheme: 'light' })
  page.setDefaultTimeout(PATIENCE_MS)
  await page.goto(`${url}/claim#code=${encodeURIComponent(code)}`)
  await page.getByLabel('New password').fill(PASSWORD)
  await page.getByLabel('Password again').fill(PASSWORD)
  await page.getByRole('button', { name: 'Claim this node' }).click()
  await page.getByRole('navigation').first().waitFor()
  await page.goto(`${url}${path}`)
  try {
    await page.getByText(says).first().waitFor()
  } finally {
    await page.screenshot({ path: shot, animations: 'disabled' })
  }
} finally {
  await browser.close()
}
