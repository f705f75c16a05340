import { onMounted, onUnmounted, readonly, type Ref, ref, watch } from 'vue'

/** Space kept to the edges of the window, in pixels. */
const MARGIN = 32

/** Where a sticky element of this height stops: at the top if it fits, else when its end has come into view. */
export function stickyTop(height: number, windowHeight: number): number {
  return Math.min(MARGIN, windowHeight - height - MARGIN)
}

/** Keeps a sticky column readable to its end though it is taller than the window. */
export function useStickyTop(element: Ref<HTMLElement | null>) {
  const top = ref(`${MARGIN}px`)
  let observer: ResizeObserver | null = null

  function measure() {
    if (element.value) top.value = `${stickyTop(element.value.offsetHeight, window.innerHeight)}px`
  }

  onMounted(() => {
    observer = new ResizeObserver(measure)
    window.addEventListener('resize', measure)
    if (element.value) observer.observe(element.value)
  })
  watch(element, (now, before) => {
    if (before) observer?.unobserve(before)
    if (now) observer?.observe(now)
  })
  onUnmounted(() => {
    observer?.disconnect()
    window.removeEventListener('resize', measure)
  })
  return readonly(top)
}
