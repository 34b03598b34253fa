// The package's entry `nvmm/mock`: the software device, for users' tests.
export { createMock, type MockCounters, type MockOptions, type MockSystem } from './mock-system.js';
export type { ForcedExit, MockExit, MockRequest, Preemption, RequestFailure } from './mock-faults.js';
