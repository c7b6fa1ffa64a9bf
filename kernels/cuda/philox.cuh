/* Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011): the words that the CPU draws.
 *
 * Element i has word i % 4 of the counter (i / 4 as two words, stream, step) with the key `seed`.
 */
#pragma once
#include "common.cuh"

struct Words {
    uint32 word[4];
};

DEVICE Words philox(uint64 group, uint32 stream, uint32 step, uint64 seed) {
    uint32 c0 = (uint32)group, c1 = (uint32)(group >> 32), c2 = stream, c3 = step;
    uint32 k0 = (uint32)seed, k1 = (uint32)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64 first = (uint64)c0 * 0xD2511F53u, second = (uint64)c2 * 0xCD9E8D57u;
        c0 = (uint32)(second >> 32) ^ c1 ^ k0;
        c1 = (uint32)second;
        c2 = (uint32)(first >> 32) ^ c3 ^ k1;
        c3 = (uint32)first;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}
