// Which scenarios can be run on a host, by what they say they need.
import type { Host } from './host.js';
import { fixtureNamed, type Case } from './load.js';
import { runSteps } from './runner.js';
import { Session } from './session.js';
import type { ExpectedFields, Scenario, Step } from './types.js';

/** What `cpu` may ask for, as CPUID shows it to a guest. */
const features: Record<string, { leaf: number; expected: ExpectedFields }> = {
  INVPCID: { leaf: 7, expected: { RBX: { mask: 0x400, is: 0x400 } } },
  SMAP: { leaf: 7, expected: { RBX: { mask: 0x100000, is: 0x100000 } } },
  ARCH_CAPABILITIES: { leaf: 7, expected: { RDX: { mask: 0x20000000, is: 0x20000000 } } },
  'the highest basic leaf D': { leaf: 0, expected: { RAX: 0xd } },
};

/** What no guest can see, as it is on the CPUs that the driver meets. */
const assumed: Record<string, boolean> = { CET: false, 'nested accessed/dirty bits': true };

function guestSees(host: Host, leaf: number, expected: ExpectedFields): boolean {
  const fixture = fixtureNamed('real', host.vendor);
  const steps: Step[] = [
    // mov eax, leaf; xor ecx, ecx; cpuid; hlt
    { op: 'write', at: 0x1000, hex: `66b80${leaf.toString(16)}0000006631c90fa2f4` },
    { op: 'run' },
    {
      op: 'getState',
      want: 'GPRS',
      expect: { changed: { RAX: '*', RBX: '*', RCX: '*', RDX: '*', RIP: '*', RFLAGS: '*', ...expected } },
    },
  ];
  return !runSteps(new Session(host.newDevice(true)), fixture.steps, steps).some(({ inFixture }) => !inFixture);
}

const answers = new Map<Host, Map<string, boolean>>();

/** Whether the host's CPU has this feature; undefined: nobody knows. */
function hasFeature(host: Host, name: string): boolean | undefined {
  const feature = features[name];
  if (!feature) return assumed[name];
  const known = answers.get(host) ?? new Map<string, boolean>();
  answers.set(host, known);
  const answer = known.get(name) ?? guestSees(host, feature.leaf, feature.expected);
  known.set(name, answer);
  return answer;
}

/** It opens the node for writing, or another one. */
const asksForRoot = ({ op, minor, flags }: Step): boolean =>
  Boolean(minor) || (op === 'open' && /WRONLY|RDWR|^0x/.test(String(flags)));

export const needsVirtualization = ({ host }: Scenario): boolean => host !== 'no-svm';

/** Why a case cannot be run here, or undefined if it can. */
export function reasonToSkip(host: Host, { scenario, leftOut }: Case): string | undefined {
  if (leftOut !== undefined) return leftOut;
  if (scenario.host !== undefined && scenario.host !== 'no-svm') return `needs a host of the kind ${scenario.host}`;
  const virtualization = needsVirtualization(scenario);
  if (!host.virtualization.includes(virtualization)) {
    return `needs a CPU with${virtualization ? '' : 'out'} virtualization`;
  }

  const need = scenario.needs?.find((name) => name !== 'threads' && !(name === 'fork' && host.canFork));
  if (need !== undefined) return `needs ${need}`;
  if (!host.isRoot && scenario.steps.some(asksForRoot)) return 'needs root';

  if (scenario.cpu === undefined) return undefined;
  const [, verb, name = ''] = /^(has|lacks) (.*)$/.exec(scenario.cpu) ?? [];
  const present = hasFeature(host, name);
  if (present === undefined) return `needs a CPU that ${scenario.cpu}, which cannot be told here`;
  return present === (verb === 'has') ? undefined : `needs a CPU that ${scenario.cpu}`;
}
