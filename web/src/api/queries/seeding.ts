import { useMutation, useQuery, useQueryClient } from '@tanstack/vue-query'
import { rpc } from '../client'
import { keys } from '../keys'
import type { SeedingPolicy } from '../types/SeedingPolicy'

/** What the node gives away. It changes with every byte and with the clock, and nobody announces that. */
export function useSeeding() {
  return useQuery({
    queryKey: keys.seeding,
    queryFn: ({ signal }) => rpc('seeding.show', {}, signal),
    refetchInterval: 10_000,
  })
}

export function useSetSeeding() {
  const client = useQueryClient()
  return useMutation({
    mutationFn: (policy: SeedingPolicy) => rpc('seeding.set', policy),
    onSuccess: (page) => client.setQueryData(keys.seeding, page),
  })
}
