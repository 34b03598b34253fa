// One experiment of the oracle: a processor state, a little memory and a few bytes of user-mode code; and what a
// processor made of it. Both processors see the same linear addresses, selectors and descriptors.
#pragma once

#include <cstdint>

#include "mock/cpu/state.h"

namespace nvmm::oracle {

using cpu::Gpr;
using cpu::Seg;

constexpr uint32_t kPage = 4096;

// The linear addresses that exist; the pages around each area do not. All below 2 GiB, so that every mode reaches them.
constexpr uint64_t kCode = 0x10000000, kCodeSize = 2 * kPage;  // executable, not writable; full of INT3
constexpr uint64_t kData = 0x20000000, kDataSize = 3 * kPage;  // not executable; its first page is not writable
constexpr uint64_t kStack = 0x30000000, kStackSize = kPage;    // not executable

// The contents of the data pages and then of the stack page.
struct Memory {
  uint8_t bytes[kDataSize + kStackSize];
};

// User segments: what Linux gives a process, and a local descriptor table of ours.
constexpr uint16_t kCode32 = 0x23, kData32 = 0x2b, kCode64 = 0x33;

struct LocalSegment {
  uint32_t base, limit;  // limit in bytes
  uint8_t type;          // of the descriptor: 0 read-only data, 2 data, 6 expand-down data, 8 execute-only, 10 code
  bool big, present;
};
// The data segments begin below the data pages, so that 16-bit offsets reach them.
constexpr uint64_t kWindow = kData - 0x4000, kStackBase16 = kStack - 0x8000;
constexpr LocalSegment kLocalSegments[] = {
    {kCode, 0xffff, 10, false, true},           // 07: 16-bit code
    {kWindow, 0xffff, 2, true, true},           // 0f
    {kWindow, 0x4fff + 0x800, 2, true, true},   // 17: ends within the data pages
    {kWindow, 0x4fff, 6, true, true},           // 1f: begins within the data pages
    {kWindow, 0x4fff + 0x900, 6, false, true},  // 27: the same, and ends at 64 KiB
    {kWindow, 0xffff, 0, true, true},           // 2f: read-only
    {kWindow, 0xffff, 8, true, true},           // 37: execute-only
    {kWindow, 0xffff, 2, true, false},          // 3f: not present
    {kStackBase16, 0x8fff, 2, false, true},     // 47: 16-bit stack
};
constexpr uint16_t localSelector(unsigned index) { return static_cast<uint16_t>(index << 3 | 7); }
constexpr uint16_t kCode16 = localSelector(0), kWindowData = localSelector(1), kStack16 = localSelector(8);

constexpr unsigned kXsaveArea = 576;  // of XSAVE: the image of FXSAVE and the header

struct Case {
  uint8_t bits;      // 16, 32 or 64: the code segment
  bool singleStep;   // runs with TF set: ends after one instruction; else at the first INT3
  uint8_t length;    // of code
  uint8_t code[45];  // up to three instructions
  uint64_t rip;      // linear address of code
  uint64_t gpr[16];
  uint64_t rflags;  // without TF
  uint16_t selector[6];
  cpu::FpuImage fpu;
  uint16_t patchLength;
  uint64_t patchAddress;  // a linear address whose contents are to be `patch` instead of the usual ones
  uint8_t patch[kXsaveArea];
};

constexpr uint16_t kNoVector = 0x100;  // the processor did not end with an exception: died, hung or another exit

struct Outcome {
  uint64_t gpr[16];
  uint64_t rip, rflags;
  uint64_t cr2;  // of a page fault
  uint16_t vector;
  uint32_t error;
  uint16_t selector[6];
  cpu::FpuImage fpu;
  bool memoryChanged;  // else `memory` is not filled in
  Memory memory;
};

constexpr uint64_t codeBase(const Case& c) { return c.bits == 16 ? kCode : 0; }

// The place of a linear address in Memory, or -1.
constexpr int64_t memoryOffset(uint64_t address) {
  if (address - kData < kDataSize) return static_cast<int64_t>(address - kData);
  if (address - kStack < kStackSize) return static_cast<int64_t>(address - kStack + kDataSize);
  return -1;
}

inline void applyPatch(const Case& c, uint8_t* memory) {
  for (unsigned i = 0; i < c.patchLength; i++)
    if (int64_t offset = memoryOffset(c.patchAddress + i); offset >= 0) memory[offset] = c.patch[i];
}

}  // namespace nvmm::oracle
