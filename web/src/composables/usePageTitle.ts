import { type MaybeRefOrGetter, onUnmounted, toValue, watchEffect } from 'vue'
import { useI18n } from 'vue-i18n'
import { useSession } from '@/api/queries/session'

/** Names the browser's tab after the page and the node. */
export function usePageTitle(page: MaybeRefOrGetter<string | null>): void {
  const { t } = useI18n()
  const { data: session } = useSession()
  watchEffect(() => {
    const name = toValue(page)
    const node = session.value?.node || t('brand')
    document.title = name === null ? node : t('title.page', { page: name, node })
  })
  onUnmounted(() => {
    document.title = t('brand')
  })
}
