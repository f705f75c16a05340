import { readonly, ref } from 'vue'

export type Theme = 'system' | 'light' | 'dark'

/** The same key as in `public/theme.js`. */
const KEY = 'archy.theme'

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY)
    return value === 'light' || value === 'dark' ? value : 'system'
  } catch {
    return 'system'
  }
}

const theme = ref<Theme>(stored())

function setTheme(next: Theme): void {
  theme.value = next
  if (next === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = next
  try {
    if (next === 'system') localStorage.removeItem(KEY)
    else localStorage.setItem(KEY, next)
  } catch {
    // The choice then lasts as long as this page.
  }
}

export function useTheme() {
  return { theme: readonly(theme), setTheme }
}
