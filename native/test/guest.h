// A small computer around one Cpu, for tests and benchmarks: 16 MiB of memory, and the modes a program starts in.
#pragma once

#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>

#include "mock/cpu/cpu.h"

namespace nvmm::cpu {

class FlatMemory : public PhysicalMemory {
 public:
  static constexpr uint64_t kSize = 16 << 20;
  FlatMemory() : storage_(static_cast<uint8_t*>(std::calloc(kSize + 4096, 1)), &std::free) {  // zeroed when touched
    bytes_ = storage_.get() + (-reinterpret_cast<uintptr_t>(storage_.get()) & 4095);
  }
  HostPage page(uint64_t gpa) override {
    if (gpa >= kSize) return {nullptr, 0};
    return {bytes_ + (gpa & ~uint64_t{4095}), kReadable | kWritable | kExecutable};
  }
  uint8_t* bytes() { return bytes_; }

 private:
  std::unique_ptr<uint8_t, decltype(&std::free)> storage_;
  uint8_t* bytes_;
};

enum class Start { Real, Protected16, Protected32, Long };

struct Guest {
  static constexpr uint64_t kCode = 0x1000, kStack = 0x8000;  // where code is put, and the stack goes down from
  static constexpr uint64_t kPml4 = 0xff0000, kPdpt = 0xff1000;

  FlatMemory memory;
  Cpu cpu;

  explicit Guest(Start start, Vendor vendor = Vendor::Amd) : cpu(memory, model(vendor)) {
    State& s = cpu.state();
    s.rip = kCode;
    s.rflags = kFlagsFixed;
    s.gpr[RSP] = kStack;
    s.cr0 = kET | kNE;
    s.dr6 = 0xffff0ff0;
    s.dr7 = 0x400;
    s.xcr0 = 1;
    s.pat = 0x0007040600070406;
    s.gdtr.limit = s.idtr.limit = 0xffff;
    s.ldtr = {0, 0x82, 0xffff, 0};
    s.tr = {0, 0x8b, 0xffff, 0};
    // Without a GDT: the hidden parts alone.
    uint16_t attributes = start == Start::Protected32 ? 0xc00 : start == Start::Long ? 0xc00 : 0;
    uint32_t limit = attributes ? 0xffffffff : 0xffff;
    bool real = start == Start::Real;
    for (Segment& seg : s.seg) {
      seg = {static_cast<uint16_t>(real ? 0 : 0x10), static_cast<uint16_t>(attributes | 0x93), limit, 0};
    }
    s.seg[CS] = {static_cast<uint16_t>(real ? 0 : 8), static_cast<uint16_t>(attributes | 0x9b), limit, 0};
    if (real) return;
    s.cr0 |= kPE;
    if (start != Start::Long) return;
    s.seg[CS].attrib = 0xa9b;
    s.cr0 |= kPG | kWP;
    s.cr4 = kPAE;
    s.efer = kLME | kLMA | kSCE | kNXE;
    s.cr3 = kPml4;
    write<uint64_t>(kPml4, kPdpt | 7);
    write<uint64_t>(kPdpt, 0 | 0x87);  // the first GiB, identically
  }

  template <typename T>
  void write(uint64_t address, T value) {
    memcpy(memory.bytes() + address, &value, sizeof(value));
  }
  template <typename T>
  T read(uint64_t address) {
    T value;
    memcpy(&value, memory.bytes() + address, sizeof(value));
    return value;
  }
  void load(const void* code, size_t size, uint64_t at = kCode) { memcpy(memory.bytes() + at, code, size); }
};

}  // namespace nvmm::cpu
