import { readdirSync } from 'node:fs';
import { defineConfig } from 'vite';

// Compiles the unit tests beside the sources for node's own test runner.
const tests = readdirSync('src/lib').filter((name) => name.endsWith('.test.ts'));

export default defineConfig({
  publicDir: false,
  build: {
    ssr: true,
    outDir: '.test',
    emptyOutDir: true,
    rolldownOptions: {
      input: Object.fromEntries(tests.map((name) => [name.replace('.ts', ''), `src/lib/${name}`])),
      output: { entryFileNames: '[name].mjs' },
    },
  },
});
