// The CPU's decoder by itself, for tests that hold another decoder against it.
#pragma once

#include <napi.h>

namespace nvmm::mock {

// decode(vendor, codeSize, bytes) -> the instruction that `bytes` (at most a page) begin with, its fields as in
// cpu/insn.h; null where they end before it does. Without a name: there is no such instruction. `codeSize`: 8 for
// 64-bit code, else the bytes of the default operand.
Napi::Value decode(const Napi::CallbackInfo& info);

}  // namespace nvmm::mock
