// segctl watch: the changes as they are committed.

#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "app/change_line.h"
#include "app/connection.h"
#include "app/console.h"
#include "app/help.h"
#include "app/segctl.h"
#include "proto/segments/v1/membership_service.grpc.pb.h"
#include "segment/absl_view.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

struct WatchOptions {
  std::string segment;
  std::string user;
  // "2:81734"
  std::vector<std::string> from;
  int64_t count = 0;
};

// Of a change "events-2:81734".
void NoteNext(std::string_view change_id, std::map<int32_t, int64_t>* next) {
  const size_t dash = change_id.rfind('-');
  const size_t colon = change_id.rfind(':');
  int32_t partition = 0;
  int64_t number = 0;
  if (dash < colon && colon != std::string_view::npos &&
      absl::SimpleAtoi(AbslView(change_id.substr(dash + 1, colon - dash - 1)), &partition) &&
      absl::SimpleAtoi(AbslView(change_id.substr(colon + 1)), &number)) {
    (*next)[partition] = number + 1;
  }
}

// What a server that stops sends, and what the client library makes of one that is gone.
bool IsEnd(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::CANCELLED ||
         (status.error_code() == grpc::StatusCode::UNAVAILABLE && !Connection::Unreached(status));
}

ExitStatus Watch(const GlobalOptions& global, const WatchOptions& options) {
  pb::WatchRequest request;
  request.set_segment_id(options.segment);
  request.set_user_id(options.user);
  for (const std::string& text : options.from) {
    const std::vector<absl::string_view> parts = absl::StrSplit(text, ':');
    int32_t partition = 0;
    int64_t number = 0;
    if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &partition) ||
        !absl::SimpleAtoi(parts[1], &number)) {
      return Complain(kWrongUse, absl::StrCat("--from: \"", text,
                                              "\": write PARTITION:NUMBER, for example 2:81734"));
    }
    if (!request.mutable_from_change()->insert({partition, number}).second) {
      return Complain(kWrongUse, absl::StrCat("--from: partition ", partition,
                                              " is given twice; give each once"));
    }
  }
  absl::StatusOr<Connection> connection = Connection::Open(global);
  if (!connection.ok()) return Complain(connection.status());
  const auto stub = pb::MembershipService::NewStub(connection->channel());
  grpc::ClientContext context;
  connection->prepare(context, /*bounded=*/false);
  const auto reader = stub->Watch(&context, request);
  pb::WatchResponse response;
  // By partition, the number after the newest change.
  std::map<int32_t, int64_t> next(request.from_change().begin(), request.from_change().end());
  int64_t seen = 0;
  while ((options.count == 0 || seen < options.count) && reader->Read(&response)) {
    ++seen;
    NoteNext(response.change().change_id(), &next);
    Print(global.json ? ChangeJson(response.change()) + "\n"
                      : ChangeLine(response.change(), stdout));
    // Somebody waits for each of them.
    if (fflush(stdout) != 0) return Complain(kUnavailable, "standard output could not be written");
  }
  if (options.count > 0 && seen == options.count) {
    context.TryCancel();
    reader->Finish();
    return kDone;
  }
  const grpc::Status end = reader->Finish();
  if (!IsEnd(end)) return connection->complain(end);
  std::string message = connection->server();
  if (seen == 0) {
    // The server sends nothing before the first change: this may as well be its refusal.
    absl::StrAppend(&message, ": ", end.error_message(), "\nNo change was shown; watch again ",
                    options.from.empty() ? "from the next changes on." : "with the same --from.");
  } else {
    absl::StrAppend(&message, ": the watch ended, the server went away (", end.error_message(),
                    ")\nGo on after the last change shown with");
    for (const auto& [partition, number] : next) {
      absl::StrAppend(&message, " --from ", partition, ":", number);
    }
    message += "; partitions not named begin with their next change.";
  }
  return Complain(kUnavailable, message);
}

}  // namespace

void AddWatchCommand(CLI::App& segctl, const GlobalOptions& global, Command* command) {
  CLI::App* watch = segctl.add_subcommand("watch", "Follow the changes of memberships");
  auto options = std::make_shared<WatchOptions>();
  watch->add_option("--segment", options->segment, "Only of this segment")->type_name("ID");
  watch->add_option("--member", options->user, "Only of this user")->type_name("USER");
  watch
      ->add_option("--from", options->from,
                   "Begin a partition at this change number; others begin at the next change; may "
                   "be given again")
      ->type_name("PARTITION:NUMBER")
      ->allow_extra_args(false);
  watch->add_option("--count", options->count, "End after so many changes; 0 for never")
      ->type_name("N")
      ->check(NotNegative);
  watch->footer(
      "Examples:\n  segctl watch\n"
      "  segctl watch --segment cart-left-behind --json | jq -r .user_id\n"
      "  segctl watch --from 2:81734      # from change events-2:81734 on\n");
  watch->callback([options, &global, command] {
    *command = [options, &global] { return Watch(global, *options); };
  });
}

}  // namespace segmentd
