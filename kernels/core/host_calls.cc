#include "kernels/core/host_calls.h"

#include <exception>
#include <utility>

namespace triforce {

void* HostCalls::Add(Call call) {
  Reclaim();
  if (free_ == nullptr) {
    nodes_.push_back(std::make_unique<Node>());
    free_ = nodes_.back().get();
  }
  Node* const node = std::exchange(free_, free_->next);
  node->call = std::move(call);
  node->next = nullptr;
  node->state = kQueued;
  (first_ == nullptr ? first_ : last_->next) = node;
  last_ = node;
  return node;
}

void HostCalls::Run(void* queued) {
  Node& node = *static_cast<Node*>(queued);
  int expected = kQueued;
  if (!node.state.compare_exchange_strong(expected, kRunning)) return;
  try {
    node.call.function(node.call.context);
  } catch (...) {
    node.call.work->Fail(node.call.number, std::current_exception());
  }
  node.state = kDone;
  node.state.notify_all();
}

bool HostCalls::pending() {
  Reclaim();
  return first_ != nullptr;
}

void HostCalls::CallRest() {
  for (Node* node = first_; node != nullptr; node = node->next) {
    Run(node);
    node->state.wait(kRunning);  // on another thread
  }
  Reclaim();
}

void HostCalls::Reclaim() {
  while (first_ != nullptr && first_->state == kDone) {
    Node* const done = std::exchange(first_, first_->next);
    done->call.work.reset();
    done->next = std::exchange(free_, done);
  }
}

}  // namespace triforce
