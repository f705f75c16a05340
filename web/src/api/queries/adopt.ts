import { useMutation, useQuery, useQueryClient } from '@tanstack/vue-query'
import { computed, type MaybeRefOrGetter, toValue } from 'vue'
import { rpc } from '../client'
import { keys } from '../keys'
import type { AdoptParams } from '../types/AdoptParams'
import type { JobRef } from '../types/JobRef'
import type { MigrateParams } from '../types/MigrateParams'

export function useAdoptable() {
  return useQuery({
    queryKey: keys.adoptable,
    queryFn: ({ signal }) => rpc('package.adoptable', {}, signal),
  })
}

/** What a migration would do, asked for by `refetch` only: what a person reads must not change under them. */
export function useMigration(slug: MaybeRefOrGetter<string>) {
  return useQuery({
    queryKey: computed(() => keys.migration(toValue(slug))),
    queryFn: ({ signal }) => rpc('package.migration', { slug: toValue(slug) }, signal),
    enabled: false,
  })
}

function useAdoptionMutation<P>(call: (params: P) => Promise<JobRef>) {
  const client = useQueryClient()
  return useMutation({
    mutationFn: call,
    onSettled: () =>
      Promise.all([
        client.invalidateQueries({ queryKey: keys.jobs }),
        client.invalidateQueries({ queryKey: keys.instances }),
        client.invalidateQueries({ queryKey: keys.adoptable }),
      ]),
  })
}

export function useAdopt() {
  return useAdoptionMutation((params: AdoptParams) => rpc('package.adopt', params))
}

export function useMigrate() {
  return useAdoptionMutation((params: MigrateParams) => rpc('package.migrate', params))
}

export function useMigrationEnd() {
  return useAdoptionMutation(({ slug, how }: { slug: string; how: 'unmigrate' | 'finish' }) =>
    rpc(`package.${how}`, { slug }),
  )
}
