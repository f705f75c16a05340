import { useQuery } from '@tanstack/vue-query'
import { rpc } from '../client'
import { keys } from '../keys'

export function useNode() {
  return useQuery({
    queryKey: keys.node,
    queryFn: ({ signal }) => rpc('node.status', {}, signal),
    refetchInterval: 30_000,
  })
}
