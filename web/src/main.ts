import { QueryClient, VueQueryPlugin } from '@tanstack/vue-query'
import { createApp } from 'vue'
import { UnreachableError } from './api/errors'
import App from './App.vue'
import { i18n } from './i18n'
import { RECONSIDER } from './keys'
import { makeRouter } from './router'
import './styles/main.css'

const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 15_000,
      // What the node refuses it refuses again; only silence is worth another try.
      retry: (failures, error) => error instanceof UnreachableError && failures < 2,
      networkMode: 'always',
    },
    mutations: { networkMode: 'always' },
  },
})
const { router, reconsider } = makeRouter(queryClient)

createApp(App)
  .use(VueQueryPlugin, { queryClient })
  .use(i18n)
  .use(router)
  .provide(RECONSIDER, reconsider)
  .mount('#app')
