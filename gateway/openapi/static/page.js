// The page at /docs: Swagger UI on the gateway's own description, one key for everything on the page, and a chat.
import { startChat } from './chat.js';

const base = new URL('.', location.href);
const reference = document.getElementById('reference');

// As the reader's other pages are, also when that changes in the evening.
const dark = window.matchMedia('(prefers-color-scheme: dark)');
const useScheme = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', useScheme);
useScheme();

async function description() {
  const answer = await fetch(new URL('openapi.json', base));
  if (!answer.ok) throw new Error(`openapi.json: ${answer.status}`);
  const spec = await answer.json();
  // Requests go to where this page came from, which only the browser knows when a proxy adds a path.
  spec.servers = [{ url: base.href.replace(/\/$/, '') }];
  return spec;
}

// Returns a part of the description with what it refers to in its place, and `$$ref` as Swagger UI's own resolver adds it.
// What refers to itself stays a reference there.
function inlined(spec, part, within = []) {
  if (Array.isArray(part)) return part.map((each) => inlined(spec, each, within));
  if (part === null || typeof part !== 'object') return part;
  const { $ref: ref } = part;
  if (typeof ref === 'string') {
    if (within.includes(ref)) return part;
    const target = ref.slice(2).split('/').reduce((found, name) => found[name], spec);
    return { ...inlined(spec, target, [...within, ref]), $$ref: new URL(ref, base).href };
  }
  return Object.fromEntries(Object.entries(part).map(([name, each]) => [name, inlined(spec, each, within)]));
}

// Swagger UI reads the whole description again for every operation that is opened, which takes most of a second.
const quickResolver = (spec) => () => ({
  fn: {
    resolveSubtree: async (_, path) => ({
      errors: [],
      spec: inlined(spec, path.reduce((found, name) => found?.[name], spec)),
    }),
  },
});

function showReference(spec) {
  const ui = window.SwaggerUIBundle({
    spec,
    domNode: reference,
    plugins: [quickResolver(spec)],
    deepLinking: true,
    filter: true,
    docExpansion: 'list',
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    // These are off by default too; they would ask another server, and write keys to disk.
    validatorUrl: null,
    persistAuthorization: false,
  });
  const schema = spec.components.securitySchemes.bearer;
  const field = document.getElementById('key');
  const useKey = () => {
    const value = field.value.trim();
    if (value) ui.authActions.authorize({ bearer: { name: 'bearer', schema, value } });
    else ui.authActions.logout(['bearer']);
  };
  field.addEventListener('input', useKey);
  // What was typed while the description was on its way.
  if (field.value) useKey();
  return () => ui.authSelectors.authorized().getIn(['bearer', 'value'], '');
}

try {
  startChat(base, showReference(await description()));
} catch (error) {
  reference.textContent = `The reference could not be loaded (${error.message}).`;
}
