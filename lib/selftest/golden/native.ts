// Loads the native modules that the scenarios need, and describes what they export.
import { join } from 'node:path';

import { loadNative as loadModule, packageFolder, type DeviceHandle, type NativeMockModule } from '../../native.js';
import { UserError } from './user-error.js';

declare const call: unique symbol;
/** A system call on a thread of its own. */
export interface Call {
  [call]: true;
}

/** nvmm_raw.node. Results are errnos of NetBSD, negated, where a call failed. */
export interface RawModule {
  kernelDevice(): DeviceHandle;

  open(device: DeviceHandle, path: string, flags: number, minor: number): number;
  close(device: DeviceHandle, fd: number): number;
  dup(device: DeviceHandle, fd: number): number;
  ioctl(device: DeviceHandle, fd: number, request: bigint, argument: bigint): number;
  /** VCPU_RUN with a second thread, which stores 1 to the address `stop` (0n: never) from `stopAfter` ms on, and ends
   * the run after `limit` ms. */
  run(device: DeviceHandle, fd: number, argument: bigint, stop: bigint, stopAfter: number, limit: number): number;
  mmap(device: DeviceHandle, fd: number, offset: bigint, length: bigint, prot: number, flags: number): bigint;
  mprotect(device: DeviceHandle, address: bigint, length: bigint, prot: number): number;
  read(device: DeviceHandle, fd: number): number;
  write(device: DeviceHandle, fd: number): number;
  fstat(device: DeviceHandle, fd: number): number;
  poll(device: DeviceHandle, fd: number): number;
  lseek(device: DeviceHandle, fd: number): number;
  fcntl(device: DeviceHandle, fd: number, command: number, argument: number): number;

  /** The device in a child process with the same descriptors; null where that cannot be had. */
  fork(device: DeviceHandle): DeviceHandle | null;
  /** Ends such a process. */
  exit(device: DeviceHandle): void;
  /** Of the process that the calls are made in. */
  pid(device: DeviceHandle): number;

  beginIoctl(device: DeviceHandle, fd: number, request: bigint, argument: bigint): Call;
  beginClose(device: DeviceHandle, fd: number): Call;
  /** Maps a comm page, and unmaps it. */
  beginMmap(device: DeviceHandle, fd: number, offset: bigint): Call;
  /** The result of a call that returns within `ms`, else undefined. */
  wait(call: Call, ms: number): number | undefined;
  /** Whether the call's thread is there, and has made the call or is about to. */
  begun(call: Call): boolean;
  /** As a signal to the call's thread. */
  kick(call: Call): void;

  allocate(length: bigint, prot: number): bigint;
  munmap(address: bigint, length: bigint): number;
  load(address: bigint, bytes: Uint8Array): number;
  store(address: bigint, bytes: Uint8Array): number;
}

/** The scenarios, and the table of the interface: data, which stays with the sources. */
export const dataFolder = join(packageFolder, 'lib', 'selftest', 'golden');

/** Loads a module that node-gyp built, from build/Release or from the folder that NVMM_BUILD_DIR names. */
export function loadNative(name: 'nvmm_raw'): RawModule;
export function loadNative(name: 'nvmm_mock'): NativeMockModule;
export function loadNative(name: string): unknown {
  try {
    return loadModule(name);
  } catch (error) {
    throw new UserError((error as Error).message);
  }
}
