// Memberships in memory, with the errors that a test asks for.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "state/queries.h"

namespace segmentd {

// Set up before the calls begin.
class MemoryQueries final : public Queries {
 public:
  absl::StatusOr<std::vector<std::vector<Membership>>> MembershipsOf(
      const std::vector<std::string>& users, absl::Time deadline) override {
    asked_until = deadline;
    if (!error.ok()) return error;
    std::vector<std::vector<Membership>> answer;
    for (const std::string& user : users) {
      auto& of_user = answer.emplace_back();
      for (const auto& [id, since] : members) {
        if (const auto found = since.find(user); found != since.end()) {
          of_user.push_back({id, found->second});
        }
      }
    }
    return answer;
  }

  absl::Status ListMembers(
      std::string_view segment_id, absl::Time,
      absl::FunctionRef<void(const std::map<int32_t, int64_t>& next_change)> begin,
      absl::FunctionRef<bool(std::vector<std::string> users)> portion) override {
    if (!error.ok()) return error;
    begin(next_change);
    std::vector<std::string> users;
    for (const auto& [user, since] : members[std::string(segment_id)]) {
      users.push_back(user);
      if (users.size() < portion_size) continue;
      ++portions;
      if (!portion(std::exchange(users, {}))) return absl::OkStatus();
    }
    if (!users.empty()) portion(std::move(users));
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<int64_t>> CountMembers(const std::vector<std::string>& segment_ids,
                                                    absl::Time) override {
    if (!error.ok()) return error;
    std::vector<int64_t> counts;
    counts.reserve(segment_ids.size());
    for (const std::string& id : segment_ids) {
      counts.push_back(static_cast<int64_t>(members[id].size()));
    }
    return counts;
  }

  absl::StatusOr<segments::v1::Explanation> Explain(std::string_view, std::string_view user,
                                                    absl::Time) override {
    if (!error.ok()) return error;
    segments::v1::Explanation explanation;
    explanation.mutable_root()->set_text("about " + std::string(user));
    return explanation;
  }

  // Segment ID -> user -> since.
  std::map<std::string, std::map<std::string, Time>> members;
  std::map<int32_t, int64_t> next_change;
  size_t portion_size = 7;
  absl::Status error;
  // Of the last call.
  absl::Time asked_until;
  int portions = 0;
};

}  // namespace segmentd
