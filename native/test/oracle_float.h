// Floating-point registers and operands at which instructions change their mind.
#pragma once

#include "oracle_case.h"
#include "oracle_random.h"

namespace nvmm::oracle {

cpu::FpuImage initialFpu();
cpu::FpuImage randomFpu(Random& random);

// A memory operand: some numbers of one format, or whatever else x87 and SSE read.
void randomOperand(Random& random, uint8_t (&bytes)[16]);

// What FXRSTOR or XRSTOR reads: an image, mostly of a valid state, and a header that is mostly one.
void randomArea(Random& random, uint8_t (&bytes)[kXsaveArea]);

}  // namespace nvmm::oracle
