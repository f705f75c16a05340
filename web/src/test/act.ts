/** What a person does, and what the mock node does meanwhile. */

import type { VueWrapper } from '@vue/test-utils'
import { settle, type World } from './mount'
import { applyEvent } from '@/api/events'
import type { Instance } from '@/api/types/Instance'
import { PUBLISHERS } from '@/mocks/catalogue'

/** The path of the page of one of the workshop's apps. */
export const page = (slug: string) => `/app/${encodeURIComponent(PUBLISHERS.workshop.did)}/${slug}`

export const status = (world: World, slug: string) => world.node.call('package.status', { slug }) as Instance

/** Has the mock's events reach the cache. */
export function follow(world: World) {
  world.node.listen((event) => applyEvent(world.client, event))
}

/** Lets the mock's clock turn, in steps as its events have them. */
export async function pass(world: World, ms: number) {
  for (let done = 0; done < ms; done += 200) world.node.advance(200)
  await settle()
}

export function button(wrapper: VueWrapper, text: string) {
  const found = wrapper.findAll('button').find((one) => one.text() === text)
  if (!found) throw new Error(`there is no button "${text}" in: ${wrapper.text()}`)
  return found
}

export async function press(wrapper: VueWrapper, text: string) {
  await button(wrapper, text).trigger('click')
  await settle()
}

/** Finds a button in the dialog that is open, which is outside of every wrapper, by its text or how that begins. */
export function inDialog(text: string): HTMLButtonElement {
  const buttons = [...document.querySelectorAll<HTMLButtonElement>('[role="dialog"] button')]
  const says = (one: HTMLButtonElement) => one.textContent?.trim() ?? ''
  const found = buttons.find((one) => says(one) === text) ?? buttons.find((one) => says(one).startsWith(text))
  if (!found) throw new Error(`there is no button "${text}" in the dialog`)
  return found
}

export async function pressInDialog(text: string) {
  inDialog(text).click()
  await settle()
}
