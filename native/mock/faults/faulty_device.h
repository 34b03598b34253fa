// A mock device with one deliberate fault: shows that the tests would notice. Compiled with -DNVMM_MOCK_FAULTS=ON only.
#pragma once

#include <memory>

#include "../mock_device.h"

namespace nvmm::mock {

// The device with the fault that the environment variable NVMM_MOCK_FAULT names; without one, the device itself.
std::shared_ptr<MockDevice> withFault(std::shared_ptr<MockDevice> device);

}  // namespace nvmm::mock
