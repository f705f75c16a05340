import { readonly, ref } from 'vue'

export interface Toast {
  id: number
  text: string
  hint: string | null
  tone: 'good' | 'bad'
}

/** How long a message stays, in milliseconds. */
const STAY_MS = 6_000

const toasts = ref<Toast[]>([])
let nextId = 1

function dismiss(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id)
}

function show(text: string, options: { tone?: Toast['tone']; hint?: string | null } = {}): void {
  const id = nextId++
  toasts.value = [
    ...toasts.value.slice(-2),
    { id, text, hint: options.hint ?? null, tone: options.tone ?? 'good' },
  ]
  setTimeout(() => dismiss(id), STAY_MS)
}

/** Short messages at the foot of the page, for what a person just did. */
export function useToasts() {
  return { toasts: readonly(toasts), show, dismiss }
}
