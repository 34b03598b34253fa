// What a rule is: a sentence about the driver, and what shows that a device follows it.
import type { MockOptions } from 'nvmm/mock';
import { System } from './system.js';

/** One of the four drivers that a mock can be. */
export interface Flavour {
  readonly vendor: 'amd' | 'intel';
  readonly kernelVersion: 1 | 2;
}

export const FLAVOURS: readonly Flavour[] = [
  { vendor: 'amd', kernelVersion: 1 },
  { vendor: 'amd', kernelVersion: 2 },
  { vendor: 'intel', kernelVersion: 1 },
  { vendor: 'intel', kernelVersion: 2 },
];

export interface Rule {
  /** The rule, in words. */
  readonly name: string;
  /** Where the reference of the driver states it. */
  readonly section: string;
  /** The drivers that it is about; all unless given. */
  readonly only?: Partial<Flavour>;
  /** What its system is like, besides vendor and version. */
  readonly options?: MockOptions;
  /** Throws what is not as it should be. */
  readonly check: (system: System) => void;
}

export interface Group {
  readonly name: string;
  readonly rules: readonly Rule[];
}

export const appliesTo = ({ only = {} }: Rule, { vendor, kernelVersion }: Flavour): boolean =>
  (only.vendor ?? vendor) === vendor && (only.kernelVersion ?? kernelVersion) === kernelVersion;

/** Holds a fresh system of this flavour against the rule. */
export function checkRule(rule: Rule, flavour: Flavour): void {
  const system = new System(flavour, rule.options);
  try {
    rule.check(system);
  } finally {
    system.end();
  }
}
