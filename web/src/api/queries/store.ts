import { keepPreviousData, useInfiniteQuery, useQuery } from '@tanstack/vue-query'
import { computed, type MaybeRefOrGetter, toValue } from 'vue'
import { rpc } from '../client'
import { keys } from '../keys'
import { type Filters, NO_FILTERS } from '@/lib/filters'
import type { AppRef } from '../types/AppRef'
import type { SearchResult } from '../types/SearchResult'

/** Apps in one page of the grid. */
const PAGE_SIZE = 48

export function useSearch(
  query: MaybeRefOrGetter<string>,
  category: MaybeRefOrGetter<string | null>,
  filters: MaybeRefOrGetter<Filters>,
) {
  return useInfiniteQuery({
    queryKey: computed(() => keys.searchFor(toValue(query), toValue(category), toValue(filters))),
    queryFn: ({ pageParam, signal }) =>
      rpc(
        'store.search',
        {
          query: toValue(query),
          category: toValue(category),
          ...toValue(filters),
          offset: pageParam,
          limit: PAGE_SIZE,
        },
        signal,
      ),
    initialPageParam: 0,
    getNextPageParam: (last: SearchResult, all: SearchResult[]) => {
      // What the policy hides is counted in the total.
      const seen = all.reduce((sum, page) => sum + page.apps.length + page.hidden, 0)
      return last.apps.length + last.hidden > 0 && seen < last.total ? seen : undefined
    },
    placeholderData: keepPreviousData,
  })
}

/** The first hundred apps of the whole catalogue, for the rows above the grid. */
export function useShelf() {
  return useQuery({
    queryKey: keys.shelf,
    queryFn: ({ signal }) =>
      rpc('store.search', { query: '', category: null, ...NO_FILTERS, offset: 0, limit: 100 }, signal),
  })
}

export function useAppPage(app: MaybeRefOrGetter<AppRef>) {
  return useQuery({
    queryKey: computed(() => keys.app(toValue(app))),
    queryFn: ({ signal }) => rpc('store.show', toValue(app), signal),
  })
}
