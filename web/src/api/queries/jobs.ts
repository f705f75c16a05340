import { type QueryClient, useMutation, useQuery, useQueryClient } from '@tanstack/vue-query'
import { computed, type MaybeRefOrGetter, toValue } from 'vue'
import { rpc } from '../client'
import { keys } from '../keys'
import type { AppRef } from '../types/AppRef'
import type { Job } from '../types/Job'

/** How many jobs Activity remembers. */
const JOBS_MAX = 100

export function isActive(job: Job): boolean {
  return job.state === 'queued' || job.state === 'running'
}

/** Puts a job into the cached list: newer news replaces older, progress never goes back. */
export function mergeJob(jobs: readonly Job[], job: Job): Job[] {
  const known = jobs.find((other) => other.id === job.id)
  if (!known) return [job, ...jobs].slice(0, JOBS_MAX)
  if (!isActive(known) && isActive(job)) return [...jobs]
  const merged = { ...job, percent: Math.max(known.percent, job.percent) }
  return jobs.map((other) => (other.id === job.id ? merged : other))
}

export function putJob(client: QueryClient, job: Job): void {
  client.setQueryData<Job[]>(keys.jobs, (jobs) => mergeJob(jobs ?? [], job))
}

export function useJobs() {
  const client = useQueryClient()
  return useQuery({
    queryKey: keys.jobs,
    queryFn: async ({ signal }) => {
      const fresh = await rpc('job.list', { active: false, limit: JOBS_MAX }, signal)
      const known = client.getQueryData<Job[]>(keys.jobs) ?? []
      // An event may have overtaken this answer.
      return fresh.map((job) => {
        const before = known.find((other) => other.id === job.id)
        return before ? (mergeJob([before], job)[0] ?? job) : job
      })
    },
    // Events carry progress; this is the net under them while something is at work.
    refetchInterval: (query) => (query.state.data?.some(isActive) ? 4_000 : false),
  })
}

/** The newest job on an app. */
export function useLatestJob(app: MaybeRefOrGetter<AppRef>) {
  const { data } = useJobs()
  return computed(() => {
    const { publisher, slug } = toValue(app)
    return data.value?.find((job) => job.app.publisher === publisher && job.app.slug === slug) ?? null
  })
}

export function useCancelJob() {
  const client = useQueryClient()
  return useMutation({
    mutationFn: (job: string) => rpc('job.cancel', { job }),
    onSettled: () => client.invalidateQueries({ queryKey: keys.jobs }),
  })
}
