import { readonly, ref } from 'vue'

const wanted = ref(false)

/** Carries "focus the search" across a change of page. */
export function useSearchFocus() {
  return {
    wanted: readonly(wanted),
    want: () => {
      wanted.value = true
    },
    taken: () => {
      wanted.value = false
    },
  }
}
