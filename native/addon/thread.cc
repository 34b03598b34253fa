#include "thread.h"

#include "../device/kernel_device.h"

namespace nvmm {

BlockedSignals::BlockedSignals(int allowed) {
  sigset_t blocked;
  sigfillset(&blocked);
  if (allowed != 0) sigdelset(&blocked, allowed);
  pthread_sigmask(SIG_SETMASK, &blocked, &previous_);
}

Thread::Thread(std::function<void()> body) {
  const BlockedSignals blocked(kKickSignal);
  thread_ = std::thread([body = std::move(body), end = end_]() mutable {
    body();
    body = nullptr;
    std::lock_guard<std::mutex> guard(end->lock);
    end->isReached = true;
    end->reached.notify_one();
  });
}

bool Thread::join(std::chrono::milliseconds patience) {
  std::unique_lock<std::mutex> guard(end_->lock);
  const bool ended = end_->reached.wait_for(guard, patience, [this] { return end_->isReached; });
  guard.unlock();
  if (ended)
    thread_.join();
  else
    thread_.detach();
  return ended;
}

}  // namespace nvmm
