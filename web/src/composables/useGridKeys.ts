import type { Ref } from 'vue'

/** Where an arrow key leads in a grid, from the places of its items; `null` when it leads out. */
export function nextInGrid(
  key: string,
  current: number,
  places: readonly { left: number; top: number }[],
): number | null {
  const here = places[current]
  if (!here) return null
  if (key === 'ArrowRight') return current + 1 < places.length ? current + 1 : null
  if (key === 'ArrowLeft') return current > 0 ? current - 1 : null
  if (key === 'Home') return 0
  if (key === 'End') return places.length - 1
  if (key !== 'ArrowDown' && key !== 'ArrowUp') return null
  const down = key === 'ArrowDown'
  const rows = places
    .map(({ left, top }, index) => ({ index, top, aside: Math.abs(left - here.left) }))
    .filter(({ top }) => (down ? top > here.top + 4 : top < here.top - 4))
  const row = down ? Math.min(...rows.map(({ top }) => top)) : Math.max(...rows.map(({ top }) => top))
  const best = rows.filter(({ top }) => Math.abs(top - row) <= 4).toSorted((a, b) => a.aside - b.aside)[0]
  return best?.index ?? null
}

/** Arrow keys move the focus through everything marked `data-grid-item` inside `root`. */
export function useGridKeys(root: Ref<HTMLElement | null>) {
  function items(): HTMLElement[] {
    return [...(root.value?.querySelectorAll<HTMLElement>('[data-grid-item]') ?? [])]
  }

  function onKeydown(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return
    const all = items()
    const current = all.findIndex((item) => item === document.activeElement)
    if (current < 0) return
    const places = all.map((item) => {
      const { left, top } = item.getBoundingClientRect()
      return { left, top }
    })
    const next = nextInGrid(event.key, current, places)
    if (next === null) return
    event.preventDefault()
    all[next]?.focus()
  }

  function focusFirst(): void {
    items()[0]?.focus()
  }

  return { onKeydown, focusFirst }
}
