#!/usr/bin/env node
/**
 * Drives the store as a person would: claim, search, read, install, open, stop, start, read logs, uninstall,
 * log out and in. Takes a picture of every page, looks for barriers with axe, and fails on console errors and
 * on any request to another host.
 *
 *   node tests/browser/run.mjs --url http://127.0.0.1:8480 --code CODE --app hello --shots DIR
 *
 * Against the mock: `MOCK_UNCLAIMED=1 npm run preview:mock` in web/, then --url http://127.0.0.1:4480
 * --code ACRE-LIME-4821.
 */

import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium'
/** How long the page may take to show something, in milliseconds. */
const PATIENCE_MS = 15_000
/** How long an install, a stop or a start may take, in milliseconds. */
const JOB_MS = 180_000
const PASSWORD = 'a lamp in the attic window'
const DESK = { width: 1440, height: 900 }
const PHONE = { width: 390, height: 844 }

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    code: { type: 'string' },
    app: { type: 'string' },
    shots: { type: 'string', default: 'target/browser' },
  },
})
for (const name of ['url', 'code', 'app']) {
  if (!options[name]) stop(`--${name} is missing`)
}
const origin = new URL(options.url).origin
const hostname = new URL(options.url).hostname

/** @param {string} message @returns {never} */
function stop(message) {
  console.error(message)
  process.exit(2)
}

if (!existsSync(CHROMIUM)) stop(`${CHROMIUM} is missing: apt-get install chromium, or set CHROMIUM`)
const { chromium } = await import('playwright-core').catch(() =>
  stop('playwright-core is missing: run npm ci in tests/browser'),
)
const { AxeBuilder } = await import('@axe-core/playwright').catch(() =>
  stop('@axe-core/playwright is missing: run npm ci in tests/browser'),
)
await mkdir(options.shots, { recursive: true })

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: [
    ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
    ...['--disable-component-update', '--disable-sync'],
  ],
})
const context = await browser.newContext({ viewport: DESK, colorScheme: 'light' })
context.setDefaultTimeout(PATIENCE_MS)
const page = await context.newPage()

/** What must never happen, gathered while the browser runs. @type {string[]} */
const faults = []
/** Messages that the present step provokes on purpose. @type {RegExp | null} */
let provoked = null
page.on('console', (message) => {
  if (message.type() !== 'error' && message.type() !== 'warning') return
  if (provoked?.test(message.text())) return
  faults.push(`console ${message.type()}: ${message.text()} (${message.location().url})`)
})
page.on('pageerror', (error) => faults.push(`page error: ${error.stack ?? error.message}`))
context.on('request', (request) => {
  const url = new URL(request.url())
  if (/^https?:|^wss?:/.test(url.protocol) && url.hostname !== hostname) {
    faults.push(`request to another host: ${request.url()}`)
  }
})

let shot = 0
/** @param {string} name */
async function picture(name) {
  shot += 1
  const file = join(options.shots, `${String(shot).padStart(2, '0')}-${name}.png`)
  await page.screenshot({ path: file, animations: 'disabled' })
}

/** @param {string} where */
async function accessible(where) {
  const { violations } = await new AxeBuilder({ page }).analyze()
  for (const violation of violations) {
    if (violation.impact !== 'serious' && violation.impact !== 'critical') continue
    const nodes = violation.nodes.map((node) => `    ${node.target.join(' ')}: ${node.failureSummary}`)
    faults.push(`axe on ${where}: ${violation.id}: ${violation.help}\n${nodes.join('\n')}`)
  }
}

/** @param {string} where */
async function fitsWidth(where) {
  const [content, view] = await page.evaluate(() => [
    document.documentElement.scrollWidth,
    document.documentElement.clientWidth,
  ])
  assert.ok(content <= view, `${where} is ${content} pixels wide in a window of ${view}`)
}

/** Pictures the page once it is still, and looks for barriers. @param {string} name */
async function look(name) {
  await settled()
  await picture(name)
  await accessible(name)
}

async function settled() {
  await page.locator('.animate-shimmer').first().waitFor({ state: 'detached' })
  await page.evaluate(() => Promise.all(document.getAnimations().filter((a) => a.effect?.getComputedTiming().endTime !== Infinity).map((a) => a.finished.catch(() => null))))
  await page.evaluate(() => document.fonts.ready)
}

/** @param {string} name */
async function go(name) {
  await page.getByRole('navigation').getByRole('link', { name, exact: true }).click()
}

/** @param {string} title @param {() => Promise<void>} act */
async function step(title, act) {
  const started = Date.now()
  try {
    await act()
    assert.deepEqual(faults, [], 'the page misbehaved')
  } catch (error) {
    await page.screenshot({ path: join(options.shots, 'failed.png') }).catch(() => {})
    console.error(`FAILED: ${title}`)
    for (const fault of faults) console.error(fault)
    throw error
  }
  console.log(`ok: ${title} (${Date.now() - started} ms)`)
}

/** Watches the progress bar from inside the page, so that nothing is missed between two looks. */
async function watchProgress() {
  await page.evaluate(() => {
    /** @type {number[]} */
    const seen = []
    Object.assign(window, { progressSeen: seen })
    const read = () => {
      const now = document.querySelector('[role="progressbar"]')?.getAttribute('aria-valuenow')
      if (now !== null && now !== undefined && seen.at(-1) !== Number(now)) seen.push(Number(now))
    }
    new MutationObserver(read).observe(document.body, { subtree: true, childList: true, attributes: true })
  })
}

/** @returns {Promise<number[]>} */
function progressSeen() {
  return page.evaluate(() => /** @type {{ progressSeen: number[] }} */ (/** @type {unknown} */ (window)).progressSeen)
}

/** The app's name as shown, known once its page is open. */
let name = ''

/** The app's card in My apps. */
function instance() {
  return page.getByRole('article', { name, exact: true })
}

/** @param {string} entry */
async function choose(entry) {
  await instance().getByRole('button', { name: `More for ${name}` }).click()
  await page.getByRole('menuitem', { name: entry, exact: true }).click()
}

try {
  await step('the first visit leads to the claim', async () => {
    await page.goto(origin)
    await page.getByRole('heading', { name: 'Make this node yours' }).waitFor()
    await page.goto(`${origin}/claim#code=${encodeURIComponent(options.code)}`)
    await page.reload()
    const code = page.getByLabel('Claim code')
    assert.equal(await code.inputValue(), options.code, 'the code comes from the address')
    assert.equal(new URL(page.url()).hash, '', 'the code leaves the address')
    await page.getByLabel('New password').fill('short')
    await page.getByRole('button', { name: 'Claim this node' }).click()
    await page.getByText(/more characters? to go/).waitFor()
    await look('claim')
    await page.getByLabel('New password').fill(PASSWORD)
    await page.getByLabel('Password again').fill(PASSWORD)
    await page.getByRole('button', { name: 'Claim this node' }).click()
  })

  await step('the store shows what was announced', async () => {
    await page.getByRole('heading', { name: 'Find something good to run' }).waitFor()
    await page.locator(`a[href$="/${options.app}"]`).first().waitFor({ timeout: JOB_MS })
    await look('store')
  })

  await step('search by keyboard leads to the app', async () => {
    await page.keyboard.press('/')
    const field = page.getByRole('searchbox', { name: 'Search apps' })
    assert.ok(await field.evaluate((input) => input === document.activeElement), '/ focuses the search')
    await page.keyboard.type(options.app)
    await page.getByRole('heading', { name: new RegExp(`apps? for “${options.app}”`) }).waitFor()
    await look('search')
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('Enter')
    await page.waitForURL(new RegExp(`/app/[^/]+/${options.app}$`))
    name = (await page.getByRole('heading', { level: 1 }).textContent())?.trim() ?? ''
    assert.notEqual(name, '')
  })

  await step('publisher, score, reasons and rights stand beside the button', async () => {
    await page.getByRole('button', { name: 'Install', exact: true }).waitFor()
    await page.getByRole('heading', { name: 'Publisher', exact: true }).waitFor()
    await page.getByRole('img', { name: /^Trust [\d.]+ of 100: / }).waitFor()
    const rights = page.locator('section, div', { has: page.getByRole('heading', { name: 'What it may do' }) }).last()
    assert.ok((await rights.getByRole('listitem').count()) > 0, 'rights are listed')
    await look('app')
    await page.getByRole('button', { name: 'Why this score' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByRole('heading', { name: /^Why [\d.]+ points$/ }).waitFor()
    await look('why')
    await page.keyboard.press('Escape')
    await dialog.waitFor({ state: 'detached' })
  })

  await step('installing shows progress that never goes back', async () => {
    await watchProgress()
    await page.getByRole('button', { name: 'Install', exact: true }).click()
    await page.getByRole('progressbar').waitFor()
    await page.getByRole('button', { name: 'Cancel' }).waitFor()
    await picture('installing')
    const done = page.getByRole('link', { name: `Open ${name}` })
    const failed = page.getByText('Not installed. Nothing was left behind.')
    await done.or(failed).waitFor({ timeout: JOB_MS })
    assert.ok(!(await failed.isVisible()), `the install failed: ${await page.getByRole('complementary').innerText()}`)
    const seen = await progressSeen()
    assert.ok(seen.length > 0, 'progress was seen')
    assert.deepEqual(seen, seen.toSorted((a, b) => a - b), `progress went back: ${seen}`)
    await look('installed')
  })

  await step('the app opens', async () => {
    const opening = context.waitForEvent('page')
    await page.getByRole('link', { name: `Open ${name}` }).click()
    const popup = await opening
    await popup.waitForLoadState('load')
    assert.equal(new URL(popup.url()).hostname, hostname)
    const reply = await context.request.get(popup.url())
    assert.equal(reply.status(), 200, `${popup.url()} answers`)
    await popup.close()
  })

  await step('My apps stops and starts it', async () => {
    await go('My apps')
    await instance().getByText('Running').waitFor()
    await look('apps')
    await choose('Stop')
    await instance().getByText('Stopped').waitFor({ timeout: JOB_MS })
    await choose('Start')
    await instance().getByText('Running').waitFor({ timeout: JOB_MS })
  })

  await step('its logs can be read', async () => {
    await choose('Logs')
    await page.getByRole('heading', { name: `Logs of ${name}` }).waitFor()
    await page.getByRole('log').or(page.getByRole('heading', { name: 'No lines yet' })).waitFor()
    await look('logs')
  })

  await step('activity, network and settings', async () => {
    await go('Activity')
    await page.getByRole('heading', { name: `Installed ${name}` }).first().waitFor()
    await look('activity')
    await go('Network')
    await page.getByRole('heading', { name: 'Relays', exact: true }).waitFor()
    await look('network')
    await go('Settings')
    await look('settings')
  })

  await step('the dark theme', async () => {
    await page.getByRole('radio', { name: 'Dark' }).click()
    for (const place of ['Store', 'My apps']) {
      await go(place)
      await page.getByRole('heading', { level: 1 }).waitFor()
      await look(`dark-${place === 'Store' ? 'store' : 'apps'}`)
    }
    await instance().getByRole('link', { name, exact: true }).click()
    await page.waitForURL(/\/app\//)
    await page.getByRole('heading', { name: 'Publisher', exact: true }).waitFor()
    await look('dark-app')
    await go('Settings')
    await page.getByRole('radio', { name: 'System' }).click()
  })

  await step('a phone', async () => {
    await page.setViewportSize(PHONE)
    for (const place of ['Store', 'My apps', 'Activity', 'Network', 'Settings']) {
      await go(place)
      await page.getByRole('heading', { level: 1 }).waitFor()
      await look(`phone-${place.toLowerCase().replace(' ', '-')}`)
      await fitsWidth(place)
    }
    await go('My apps')
    await instance().getByRole('link', { name, exact: true }).click()
    await page.waitForURL(/\/app\//)
    await page.getByRole('heading', { name: 'Publisher', exact: true }).waitFor()
    await look('phone-app')
    await fitsWidth('the app page')
    await page.setViewportSize(DESK)
  })

  await step('uninstalling keeps the data unless told otherwise', async () => {
    await go('My apps')
    await choose('Uninstall…')
    const dialog = page.getByRole('dialog', { name: `Uninstall ${name}?` })
    assert.ok(await dialog.getByRole('radio', { name: 'Keep its data' }).isChecked(), 'data is kept by default')
    await dialog.getByRole('radio', { name: 'Also delete its data' }).click()
    const purge = dialog.getByRole('button', { name: 'Uninstall and delete data' })
    assert.ok(await purge.isDisabled(), 'deleting data needs the name of the app')
    await look('uninstall')
    await dialog.getByRole('radio', { name: 'Keep its data' }).click()
    await dialog.getByRole('button', { name: 'Uninstall', exact: true }).click()
    await dialog.waitFor({ state: 'detached' })
    await instance().waitFor({ state: 'detached', timeout: JOB_MS })
    await go('Activity')
    await page.getByRole('heading', { name: `Uninstalled ${name}, data kept` }).waitFor()
  })

  await step('logging out locks, a wrong password does not open, the right one does', async () => {
    await go('Settings')
    await page.getByRole('button', { name: 'Log out' }).click()
    await page.getByRole('heading', { name: 'Welcome back' }).waitFor()
    await page.goto(`${origin}/apps`)
    await page.getByRole('heading', { name: 'Welcome back' }).waitFor()
    await look('login')
    provoked = /status of 403/
    await page.getByLabel('Password', { exact: true }).fill('not this one at all')
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.getByRole('alert').waitFor()
    provoked = null
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD)
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.getByRole('heading', { name: 'My apps' }).waitFor()
  })
} finally {
  await browser.close()
}
console.log(`done: ${shot} pictures in ${options.shots}`)
