// evaluate EXPRESSION: computes it with a routine in C that is not trusted, for two seconds at most.
import { openNvmm } from 'nvmm';
import { evaluate } from './evaluate.guest.js';
import { callUntrusted, SandboxError } from './sandbox.js';

const expression = process.argv[2] ?? '(1 + 2) * -3';

using nvmm = openNvmm({ device: 'auto' });
try {
  const value = await callUntrusted(nvmm, evaluate, Buffer.from(expression, 'latin1'), {
    signal: AbortSignal.timeout(2000),
    exits: 100,
    log: (text) => {
      console.error(`routine: ${text}`);
    },
  });
  console.log(`${expression} = ${value} (computed in a guest on: ${nvmm.device})`);
} catch (error) {
  const isTimeout = error instanceof DOMException && error.name === 'TimeoutError';
  if (!isTimeout && !(error instanceof SandboxError)) throw error;
  console.error(`${expression}: ${isTimeout ? 'The routine took too long.' : error.message}`);
  process.exitCode = 1;
}
