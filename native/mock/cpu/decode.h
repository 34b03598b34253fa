// From the bytes of an instruction to an Insn.
#pragma once

#include <cstdint>

#include "core.h"

namespace nvmm::cpu {

// The code at one RIP, byte by byte: within its page, and for a single instruction in the next page too.
class CodeBytes {
 public:
  // `host` are the bytes at the current RIP, which lies at `linear`.
  CodeBytes(Core& core, uint64_t linear, const uint8_t* host);

  // The byte so far from RIP. False: it can't be had; if `mayFault`, the fault is recorded.
  bool byte(unsigned offset, bool mayFault, uint8_t& value);

  const uint8_t* host() const { return host_; }
  const uint8_t* host2() const { return host2_; }
  unsigned firstBytes() const { return firstBytes_; }

 private:
  Core& core_;
  uint64_t linear_;
  const uint8_t* host_;
  const uint8_t* host2_ = nullptr;
  unsigned firstBytes_;
  uint64_t limitBytes_;  // up to the limit of CS
};

// Decodes the instruction at `offset` from RIP; `insn.handler` raises #UD or #GP where it is none. False: its bytes
// can't be had, as CodeBytes says. `ends`: nothing behind it belongs to the block.
bool decode(Core& core, CodeBytes& bytes, unsigned offset, bool mayFault, Insn& insn, bool& ends);

}  // namespace nvmm::cpu
