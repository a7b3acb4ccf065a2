/* Stars under their own gravity: an OpenMP program that knows nothing of checkpoints.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: stars STEPS    prints the energy every tenth step
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define STARS 2000
#define DT    1e-4
#define SOFT  1e-3

struct vec {
    double x, y, z;
};

static struct vec place[STARS], speed[STARS], pull[STARS];

static double uniform(void)
{
    static unsigned long long state = 42;

    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (double)(state >> 11) / 9007199254740992.0;
}

static void attract(void)
{
#pragma omp parallel for schedule(dynamic, 16)
    for (int i = 0; i < STARS; i++) {
        struct vec sum = {0, 0, 0};

        for (int j = 0; j < STARS; j++) {
            double dx = place[j].x - place[i].x, dy = place[j].y - place[i].y;
            double dz = place[j].z - place[i].z;
            double r2 = dx * dx + dy * dy + dz * dz + SOFT;
            double f = 1.0 / (r2 * sqrt(r2) * STARS);

            sum.x += f * dx;
            sum.y += f * dy;
            sum.z += f * dz;
        }
        pull[i] = sum;
    }
}

/* Summed in one thread, so that the figure is the same every time. */
static double energy(void)
{
    double sum = 0;

    for (int i = 0; i < STARS; i++)
        sum += 0.5 * (speed[i].x * speed[i].x + speed[i].y * speed[i].y +
                      speed[i].z * speed[i].z);
    return sum / STARS;
}

int main(int argc, char **argv)
{
    long steps = argc > 1 ? atol(argv[1]) : 2000;

    for (int i = 0; i < STARS; i++)
        place[i] = (struct vec){uniform(), uniform(), uniform()};
    for (long n = 1; n <= steps; n++) {
        attract();
#pragma omp parallel for
        for (int i = 0; i < STARS; i++) {
            speed[i].x += DT * pull[i].x;
            speed[i].y += DT * pull[i].y;
            speed[i].z += DT * pull[i].z;
            place[i].x += DT * speed[i].x;
            place[i].y += DT * speed[i].y;
            place[i].z += DT * speed[i].z;
        }
        if (n % 10 == 0)
            printf("step %6ld kinetic energy %.15f\n", n, energy());
    }
    return 0;
}
