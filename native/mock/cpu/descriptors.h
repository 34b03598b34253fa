// Segment descriptors and selectors, as data.
#pragma once

#include <cstdint>

#include "state.h"

namespace nvmm::cpu {

constexpr uint16_t kRpl = 3, kTableIndicator = 4;

inline bool isNull(uint16_t selector) { return (selector & ~kRpl) == 0; }
inline unsigned rpl(uint16_t selector) { return selector & kRpl; }

// Types of system descriptors
enum : uint8_t {
  kTss16 = 1,
  kLdt = 2,
  kTss16Busy = 3,
  kCallGate16 = 4,
  kTaskGate = 5,
  kInterruptGate16 = 6,
  kTrapGate16 = 7,
  kTss32 = 9,
  kTss32Busy = 11,
  kCallGate32 = 12,
  kInterruptGate32 = 14,
  kTrapGate32 = 15,
};

// Access rights of Segment::attrib
constexpr uint16_t kAccessed = 1, kTypeMask = 0xf, kTssBusy = 2, kPresentBit = 0x80, kLongBit = 0x200, kBigBit = 0x400;
constexpr uint16_t kFlatCode64 = 0xa9b, kFlatCode32 = 0xc9b, kFlatData = 0xc93, kV86Attrib = 0xf3;
constexpr uint16_t dplBits(unsigned dpl) { return static_cast<uint16_t>(dpl << 5); }

inline bool isCode(const Segment& s) { return !s.system() && s.type() & 8; }
inline bool isConforming(const Segment& s) { return (s.attrib & 0x1c) == 0x1c; }
inline bool isReadable(const Segment& s) { return !s.system() && (s.type() & 0xa) != 8; }  // data, or code with R
inline bool isWritableData(const Segment& s) { return !s.system() && (s.type() & 0xa) == 2; }
inline bool isExpandDown(const Segment& s) { return (s.type() & 0xc) == 4; }

// Whether the bytes are inside the segment. Of a 4 GiB segment every byte is where offsets wrap: on Intel's processors.
inline bool withinLimit(const Segment& s, bool protectedMode, bool wraps, uint64_t offset, unsigned size) {
  uint64_t last = offset + size - 1;
  if (protectedMode && isExpandDown(s)) return offset > s.limit && last <= (s.big() ? 0xffffffffu : 0xffffu);
  return last <= s.limit || (wraps && s.limit == 0xffffffff);
}

// An entry of the GDT, LDT or IDT. In long mode those of the system kinds have a second half.
struct Descriptor {
  uint64_t low, high;
  uint64_t address;  // linear, of the entry

  uint16_t attrib() const { return static_cast<uint16_t>((low >> 40 & 0xff) | (low >> 44 & 0xf00)); }
  uint32_t limit() const {
    uint32_t raw = static_cast<uint32_t>((low & 0xffff) | (low >> 32 & 0xf0000));
    return low >> 55 & 1 ? raw << 12 | 0xfff : raw;
  }
  uint64_t base() const { return (low >> 16 & 0xffffff) | (low >> 56 & 0xff) << 24 | high << 32; }
  Segment segment(uint16_t selector) const { return {selector, attrib(), limit(), base()}; }

  unsigned type() const { return low >> 40 & 0xf; }
  bool system() const { return !(low >> 44 & 1); }
  unsigned dpl() const { return low >> 45 & 3; }
  bool present() const { return low >> 47 & 1; }

  // Gates
  uint16_t gateSelector() const { return static_cast<uint16_t>(low >> 16); }
  uint64_t gateOffset() const { return (low & 0xffff) | (low >> 48) << 16 | high << 32; }
  unsigned gateParameters() const { return low >> 32 & 0x1f; }
  unsigned gateIst() const { return low >> 32 & 7; }
};

}  // namespace nvmm::cpu
