#include "app/broker_addresses.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "app/listen_address.h"

namespace segmentd {
namespace {

bool IsHostPort(std::string text) {
  // The client has a port of its own for it.
  if (text.find(':') == std::string::npos || text.ends_with(']')) text += ":9092";
  const absl::StatusOr<ListenAddress> address = ListenAddress::Parse(text);
  return address.ok() && address->port > 0 &&
         std::none_of(address->host.begin(), address->host.end(), [](unsigned char c) {
           return absl::ascii_isspace(c) || absl::ascii_iscntrl(c) || c == '/' || c == '[' ||
                  c == ']';
         });
}

}  // namespace

absl::Status CheckBrokerAddresses(const KafkaSettings& settings) {
  std::string protocol = "PLAINTEXT";
  for (const auto& [name, value] : settings.client()) {
    if (name == "security.protocol") protocol = absl::AsciiStrToUpper(value);
  }
  bool any = false;
  for (const absl::string_view part : absl::StrSplit(settings.bootstrap_servers(), ',')) {
    const std::string address(absl::StripLeadingAsciiWhitespace(part));
    if (address.empty()) continue;
    any = true;
    std::string rest = address;
    if (const size_t mark = address.find("://"); mark != std::string::npos) {
      const std::string own = address.substr(0, mark);
      if (!absl::EqualsIgnoreCase(own, protocol)) {
        return absl::InvalidArgumentError(absl::StrCat(
            "--bootstrap-servers: \"", address, "\" is not of the protocol ", protocol,
            ", which --kafka security.protocol sets; set that, and leave \"", own, "://\" out"));
      }
      rest = address.substr(mark + 3);
      rest = rest.substr(0, rest.find('/'));
    }
    if (!IsHostPort(rest)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--bootstrap-servers: \"", address,
          "\" is not host:port; examples are kafka-1:9092 and, in brackets, [::1]:9092"));
    }
  }
  if (!any) return absl::InvalidArgumentError("--bootstrap-servers: there is no address in it");
  return absl::OkStatus();
}

}  // namespace segmentd
