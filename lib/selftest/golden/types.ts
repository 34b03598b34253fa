// The form of a scenario file, as scenarios/README.md defines it.

export type Vendor = 'amd' | 'intel';

/** A JSON integer, or a string with a decimal or hexadecimal number. */
export type Numeric = number | string;

/** A value that the device must answer: itself, or a pattern for it. */
export type Expected =
  | number
  | string
  | boolean
  | { oneOf: Expected[] }
  | { mask: Numeric; is: Numeric }
  | { min?: Numeric; max?: Numeric }
  | { nonzero: true };

export type ExpectedFields = Record<string, Expected>;

export interface Expectation {
  comm?: '*' | ExpectedFields;
  changed?: '*' | ExpectedFields;
  regs?: ExpectedFields;
  exit?: '*' | ExpectedFields;
  exitstate?: '*' | ExpectedFields;
  /** Everything else: ret, hex, raw, and the fields of what the request returns. */
  [field: string]: Expected | ExpectedFields | undefined;
}

/** Pieces of the state: a number, a name, or a list of both. */
export type Pieces = Numeric | Numeric[];

export interface Step {
  op: string;
  expect?: Expectation;

  // What the step is about.
  fd?: string;
  machine?: Numeric;
  cpu?: number;
  comm?: string;
  mem?: string;
  addr?: Numeric;

  // Its arguments, by operation.
  as?: string;
  at?: Numeric;
  arg?: Numeric;
  add?: Numeric;
  cached?: Pieces;
  call?: string;
  cmd?: number;
  code?: Numeric;
  commit?: Pieces | boolean;
  conf?: Numeric;
  data?: Numeric;
  del?: Record<string, Numeric>;
  error?: Numeric;
  event_commit?: Numeric;
  flags?: Numeric;
  gpa?: Numeric;
  hex?: string;
  hva?: Numeric;
  leaf?: Numeric;
  length?: Numeric;
  machid?: Numeric;
  minor?: number;
  mode?: string;
  ms?: number;
  path?: string;
  pointer?: Numeric;
  prefill?: Numeric;
  prot?: Numeric;
  regs?: Record<string, Numeric> | string[];
  request?: Numeric;
  rsvd?: Numeric;
  set?: Record<string, Numeric>;
  size?: Numeric;
  state_cached?: Pieces;
  state_commit?: Pieces;
  state_wanted?: Pieces;
  steps?: Step[];
  stop?: Numeric;
  type?: Numeric;
  vector?: Numeric;
  want?: Pieces;
}

export interface Scenario {
  name: string;
  rule: string;
  fixture?: string;
  steps: Step[];
  needs?: string[];
  host?: string;
  cpu?: string;
  only?: string;
  may_deviate?: string;
}

export interface ScenarioFile {
  format: number;
  recorded: string;
  group: string;
  scenarios: Scenario[];
}

/** intel/same.json */
export interface SameFile {
  same: Record<string, string[]>;
  cpu: Record<string, string>;
  left_out: Record<string, string>;
}

/** What a device answered otherwise than recorded. */
export interface Difference {
  /** Of the scenario or of its fixture, counted from 1. */
  step: number;
  inFixture: boolean;
  op: string;
  field: string;
  expected: string;
  got: string;
}
