// A system call on a thread of its own, for tests of what waits for what.
#pragma once

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "../device/raw_device.h"

namespace nvmm {

class Call {
 public:
  // The thread goes on when this is let go of: a call that never ends must not take its caller with it.
  Call(std::shared_ptr<RawDevice> device, std::function<int64_t(RawDevice&)> make)
      : state_(std::make_shared<State>(std::move(device))) {
    std::thread([state = state_, make = std::move(make)] {
      {
        const std::lock_guard<std::mutex> lock(state->mutex);
        state->thread = pthread_self();
        state->running = true;
      }
      const int64_t result = make(*state->device);
      const std::lock_guard<std::mutex> lock(state->mutex);
      state->running = false;
      state->ended = true;
      state->result = result;
      state->changed.notify_all();
    }).detach();
  }

  // Whether the call has returned, which it is given `time` to do; then *result is what it returned.
  bool wait(std::chrono::milliseconds time, int64_t* result) const {
    std::unique_lock<std::mutex> lock(state_->mutex);
    if (!state_->changed.wait_for(lock, time, [this] { return state_->ended; })) return false;
    *result = state_->result;
    return true;
  }

  // Whether the thread is there, and has made the call or is about to.
  bool begun() const {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    return state_->running || state_->ended;
  }

  // As a signal to the thread: may come before the call is made, or after it.
  void kick() const {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    if (state_->running) state_->device->kick(state_->thread);
  }

 private:
  struct State {
    explicit State(std::shared_ptr<RawDevice> made) : device(std::move(made)) {}

    const std::shared_ptr<RawDevice> device;
    std::mutex mutex;
    std::condition_variable changed;
    pthread_t thread = {};
    bool running = false;  // the thread exists
    bool ended = false;
    int64_t result = 0;
  };

  const std::shared_ptr<State> state_;
};

}  // namespace nvmm
