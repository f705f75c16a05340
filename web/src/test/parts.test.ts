import { describe, expect, it } from 'vitest'
import { mockNetwork, mountPart, settle } from './mount'
import type { Instance } from '@/api/types/Instance'
import type { InstanceList } from '@/api/types/InstanceList'
import AppIcon from '@/components/AppIcon.vue'
import PublisherHtml from '@/components/PublisherHtml.vue'
import SearchField from '@/components/SearchField.vue'
import UninstallDialog from '@/components/UninstallDialog.vue'

describe('a publisher’s text', () => {
  async function shown(html: string) {
    return (await mountPart(PublisherHtml, { html })).find('.prose-story').html()
  }

  it.each([
    ['<script>alert(1)</script>', 'script'],
    ['<img src="https://example.org/track.png">', 'img'],
    ['<p onclick="alert(1)">text</p>', 'onclick'],
    ['<p style="position:fixed">text</p>', 'style'],
    ['<a href="javascript:alert(1)">text</a>', 'javascript'],
    ['<a href="/session/logout">text</a>', 'href'],
    ['<iframe src="https://example.org"></iframe>', 'iframe'],
    ['<form action="https://example.org"><input name="password"></form>', 'input'],
    ['<svg><style>*{display:none}</style></svg>', 'svg'],
    ['<p id="app" class="fixed">text</p>', 'fixed'],
  ])('%s loses its %s', async (html, gone) => {
    expect(await shown(html)).not.toContain(gone)
  })

  it('sends links elsewhere without telling where from', async () => {
    const html = await shown('<a href="https://example.org/x">x</a>')
    expect(html).toContain('rel="noopener noreferrer nofollow"')
    expect(html).toContain('target="_blank"')
  })

  it('begins its headings below the page’s own', async () => {
    expect(await shown('<h1>Big <em>one</em></h1>')).toContain('<h3>Big <em>one</em></h3>')
  })
})

describe('uninstalling', () => {
  async function dialog() {
    const world = mockNetwork()
    const { instances } = world.node.call('package.list', {}) as InstanceList
    const instance = instances.find((one) => one.name === 'Syncthing') as Instance
    await mountPart(UninstallDialog, { instance, open: true }, {}, world)
    const find = (text: string) =>
      [...document.querySelectorAll<HTMLButtonElement>('[role="dialog"] button')].find((one) =>
        one.textContent?.trim().startsWith(text),
      )
    return { world, find }
  }

  it('keeps the data by default', async () => {
    const { world, find } = await dialog()
    find('Uninstall')?.click()
    await settle()
    expect(world.calls).toContain('package.uninstall')
    const [job] = world.node.call('job.list', {}) as { kind: string }[]
    expect(job?.kind).toBe('uninstall')
  })

  it('deletes data only after the app’s name was typed', async () => {
    const { world, find } = await dialog()
    find('Also delete its data')?.click()
    await settle()
    const go = find('Uninstall and delete data')
    expect(go?.disabled).toBe(true)
    const field = document.querySelector<HTMLInputElement>('[role="dialog"] input')
    if (!field) throw new Error('no field')
    for (const [text, disabled] of [
      ['Sync', true],
      ['syncthing', false],
    ] as const) {
      field.value = text
      field.dispatchEvent(new Event('input'))
      await settle()
      expect(go?.disabled).toBe(disabled)
    }
    go?.click()
    await settle()
    const [job] = world.node.call('job.list', {}) as { kind: string }[]
    expect(job?.kind).toBe('purge')
  })
})

describe('small parts', () => {
  it('shows letters when the picture is missing', async () => {
    const wrapper = await mountPart(AppIcon, {
      icon: '/assets/x',
      name: 'Home Assistant',
      publisher: 'did:key:z',
      size: 64,
    })
    await wrapper.find('img').trigger('error')
    expect(wrapper.text()).toBe('HA')
  })

  it('clears the search with Esc and leads down into the grid', async () => {
    const said: unknown[] = []
    const wrapper = await mountPart(SearchField, {
      modelValue: 'photo',
      'onUpdate:modelValue': (value: string) => said.push(value),
      onDown: () => said.push('down'),
    })
    await wrapper.find('input').trigger('keydown', { key: 'ArrowDown' })
    await wrapper.find('input').trigger('keydown', { key: 'Escape' })
    expect(said).toEqual(['down', ''])
  })
})
