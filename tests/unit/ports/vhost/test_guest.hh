// SPDX-License-Identifier: BSD-3-Clause
// Guests for the tests of the ring engine: one that sends and one that receives, each a driver, the
// engine on its ring and a worker. Drivers and the worker's side are test_ring.hh's.
#pragma once

#include "test_ring.hh"

#include <algorithm>
#include <cstring>

namespace strait::vhost::test {

// A driver, its ring's source and a worker.
struct transmitter {
    explicit transmitter(const ring_options& options, std::size_t ram_size = std::size_t{1} << 20)
        : ram{ram_size}, guest{make_driver(ram, options)}, engine{make_source(guest->setup())}
    {
        header = options.has(feature::version_1) || options.has(feature::mergeable_buffers)
                     ? sizeof(net_header)
                     : legacy_net_header;
    }

    // Gives the driver a frame behind a header of noise, cut where `cuts` say: lengths of
    // descriptors, the last of them the rest.
    [[nodiscard]] bool add(const bytes& frame, std::span<const std::size_t> cuts, std::size_t token,
                           bool indirect = false)
    {
        net_header noise;
        std::memset(&noise, 0xa5, sizeof noise);
        return add(noise, frame, cuts, token, indirect);
    }
    // The same behind this header.
    [[nodiscard]] bool add(const net_header& h, const bytes& frame,
                           std::span<const std::size_t> cuts, std::size_t token,
                           bool indirect = false)
    {
        bytes all(header);
        std::memcpy(all.data(), &h, header);
        all.insert(all.end(), frame.begin(), frame.end());
        std::vector<buffer> chain;
        std::size_t at = 0;
        const auto piece = [&](std::size_t size) {
            const std::uint64_t address = ram.allocate(size);
            ram.write(address, std::span{all}.subspan(at, size));
            chain.push_back({address, static_cast<std::uint32_t>(size), false});
            at += size;
        };
        for (const std::size_t cut : cuts) {
            piece(std::min(cut, all.size() - at));
        }
        if (at < all.size()) {
            piece(all.size() - at);
        }
        if (!guest->add(chain, token, indirect)) {
            for (const buffer& b : chain) {
                ram.free(b.address);
            }
            return false;
        }
        buffers[token] = std::move(chain);
        return true;
    }
    std::vector<returned> collect()
    {
        std::vector<returned> all = guest->collect();
        for (const returned& r : all) {
            for (const buffer& b : buffers.at(r.token)) {
                ram.free(b.address);
            }
            buffers.erase(r.token);
        }
        return all;
    }

    guest_ram ram;
    std::unique_ptr<driver> guest;
    std::unique_ptr<source> engine;
    worker_side worker;
    std::map<std::size_t, std::vector<buffer>> buffers;
    std::size_t header;
};

// A driver, its ring's sink and a worker. The driver's buffers are filled with a pattern, so that
// what is written beyond a packet shows.
struct receiver {
    static constexpr std::byte pattern{0x5a};

    explicit receiver(const ring_options& options, std::size_t ram_size = std::size_t{1} << 20)
        : ram{ram_size}, guest{make_driver(ram, options)}, engine{make_sink(guest->setup())}
    {
        header = options.has(feature::version_1) || options.has(feature::mergeable_buffers)
                     ? sizeof(net_header)
                     : legacy_net_header;
    }

    // Offers a chain of buffers of these lengths.
    [[nodiscard]] bool add(std::span<const std::size_t> lengths, std::size_t token,
                           bool indirect = false)
    {
        std::vector<buffer> list;
        for (const std::size_t size : lengths) {
            const std::uint64_t address = ram.allocate(size);
            ram.write(address, bytes(size, pattern));
            list.push_back({address, static_cast<std::uint32_t>(size), true});
        }
        if (!guest->add(list, token, indirect)) {
            for (const buffer& b : list) {
                ram.free(b.address);
            }
            return false;
        }
        buffers[token] = std::move(list);
        return true;
    }
    [[nodiscard]] bool add(std::size_t length, std::size_t token)
    {
        return add(std::span{&length, 1}, token);
    }

    // What a returned chain holds, `length` bytes of it; all behind that must be untouched.
    bytes contents(const returned& r)
    {
        bytes all;
        for (const buffer& b : buffers.at(r.token)) {
            const bytes part = ram.read(b.address, b.length);
            all.insert(all.end(), part.begin(), part.end());
        }
        EXPECT_LE(r.length, all.size());
        EXPECT_TRUE(std::all_of(all.begin() + r.length, all.end(), [](std::byte b) {
            return b == pattern;
        })) << "written beyond what was returned as written";
        all.resize(r.length);
        return all;
    }

    // Frames that the driver received since the last call, as VIRTIO 1.1 5.1.6.4 has them.
    std::vector<bytes> collect()
    {
        std::vector<bytes> frames;
        const std::vector<returned> all = guest->collect();
        for (std::size_t i = 0; i < all.size();) {
            bytes packet = contents(all[i]);
            EXPECT_GE(packet.size(), header);
            net_header h{};
            std::memcpy(&h, packet.data(), std::min(header, packet.size()));
            if (engine->takes() == dataplane::offloads::none) {
                EXPECT_EQ(h.flags, 0);
                EXPECT_EQ(h.gso_type, 0);
                EXPECT_EQ(h.header_length, 0);
                EXPECT_EQ(h.gso_size, 0);
                EXPECT_EQ(h.checksum_start, 0);
                EXPECT_EQ(h.checksum_offset, 0);
            }
            headers.push_back(h);
            std::size_t count = 1;
            if (header == sizeof h) {
                count = h.buffers;
                EXPECT_GE(count, 1U);
                EXPECT_LE(count, all.size() - i);
            }
            count = std::clamp<std::size_t>(count, 1, all.size() - i);
            for (std::size_t n = 1; n < count; ++n) {
                // Every buffer but the last is full.
                std::size_t room = 0;
                for (const buffer& b : buffers.at(all[i + n - 1].token)) {
                    room += b.length;
                }
                EXPECT_EQ(all[i + n - 1].length, room);
                const bytes more = contents(all[i + n]);
                packet.insert(packet.end(), more.begin(), more.end());
            }
            packet.erase(packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(
                                                              std::min(header, packet.size())));
            frames.push_back(std::move(packet));
            buffer_counts.push_back(count);
            i += count;
        }
        for (const returned& r : all) {
            for (const buffer& b : buffers.at(r.token)) {
                ram.free(b.address);
            }
            buffers.erase(r.token);
        }
        return frames;
    }

    void send(std::span<const std::unique_ptr<test_packet>> packets)
    {
        std::vector<dataplane::packet*> list;
        for (const auto& p : packets) {
            list.push_back(p->get());
        }
        worker.send(*engine, list);
    }
    void send(test_packet& p)
    {
        dataplane::packet* const one = p.get();
        worker.send(*engine, {&one, 1});
    }

    guest_ram ram;
    std::unique_ptr<driver> guest;
    std::unique_ptr<sink> engine;
    worker_side worker;
    std::map<std::size_t, std::vector<buffer>> buffers;
    std::vector<net_header> headers;        // of each frame collected
    std::vector<std::size_t> buffer_counts; // num_buffers of each
    std::size_t header;
};

} // namespace strait::vhost::test
